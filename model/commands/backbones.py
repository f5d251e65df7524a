"""Ask backbones what they know: those that runs have taught, and beside them one of each kind that knows nothing."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.engines import choose_device
from model.errors import InputError
from model.evaluate import activations, forgotten, neighbors, readings, segmentation, transfer, voc
from model.evaluate import probes as measured
from model.evaluate.features import pooled
from model.evaluate.figures import grid
from model.evaluate.readings import Material, Values
from model.evaluate.report import table
from model.evaluate.segmentation import Masked
from model.evaluate.transfer import Tagged
from model.methods import simclr
from model.methods.simclr import SimCLRNet
from model.nets.backbone import Backbone
from model.training import building, cache, data
from model.training.building import Trained

_STEP_S, _PHOTO_S = (
    0.9,
    0.1,
)  # of detection, of one core: 0.65 and 0.055 in a short timing, more in a long run


def probes(arguments: argparse.Namespace) -> int:
    """Linear probes on every layer."""
    protocol = measured.protocol(arguments.protocol)
    protocol = replace(protocol, epochs=arguments.epochs or protocol.epochs)
    arguments.side = arguments.side or protocol.photo
    if (protocol.crop or 0) > arguments.side:
        raise InputError(
            f"{arguments.protocol} crops {protocol.crop} pixels: --side {protocol.photo}, or none"
        )
    subjects, seen = _subjects(arguments), _material(arguments)
    found = {
        name: readings.of_layers(backbone, seen, range(arguments.seeds), protocol)
        for name, backbone in subjects.items()
    }
    rows = {name: {layer: _percent(of) for layer, of in values.items()} for name, values in found.items()}
    return _tell(arguments.out, "probes", rows, found)


def knn(arguments: argparse.Namespace) -> int:
    """Classes by the 20 nearest photos, at the run's last step."""
    subjects, seen = _subjects(arguments), _material(arguments)
    found = {name: readings.of_neighbors(backbone, seen) for name, backbone in subjects.items()}
    rows = {
        name: {"kNN of 20": f"{of['accuracy']:.1%} ({of['low']:.1%}…{of['high']:.1%})"}
        for name, of in found.items()
    }
    return _tell(arguments.out, "knn", rows, found)


def retrieval(arguments: argparse.Namespace) -> int:
    """A picture a backbone: photos, and the nearest others, no copies."""
    photos = cache.build(data.find(arguments.photos, arguments.exclude), arguments.side, arguments.cache)
    for name, backbone in _subjects(arguments).items():
        picture_of_neighbors(backbone, photos, arguments.out / f"{_file(name)}.jpg")
    print(f"the pictures: {arguments.out}")
    return 0


def units(arguments: argparse.Namespace) -> int:
    """A picture a backbone: the photos and patches that excite hidden units most."""
    photos = cache.build(data.find(arguments.photos, arguments.exclude), arguments.side, arguments.cache)
    for name, backbone in _subjects(arguments).items():
        picture_of_units(backbone, photos, arguments.out / f"{_file(name)}.jpg")
    print(f"the pictures: {arguments.out}")
    return 0


def efficiency(arguments: argparse.Namespace) -> int:
    """Accuracy by the number of labels, fine-tuned; and what a start is worth in labels beside a net from scratch."""
    subjects, seen = _subjects(arguments), _material(arguments)
    options = transfer.Options(steps=arguments.steps, side=arguments.side)
    found: dict[str, Values] = {}
    for name, backbone in subjects.items():
        found[name] = readings.of_labels(
            _maker(name, backbone), seen, arguments.labels, range(arguments.seeds), options
        )
    rows = {}
    for name, values in found.items():
        means = np.mean(values["accuracy"], 0)
        rows[name] = {str(count): f"{mean:.1%}" for count, mean in zip(values["labels"], means, strict=True)}
        scratch = found[_control(name)]
        if values is not scratch:
            values["utility"], values["verdict"] = readings.worth(values, scratch)
            for one in values["utility"]:
                rows[name][f"U({one['labels']})"] = one["text"]
            rows[name]["outcome"] = f"{values['verdict']['outcome']}: {values['verdict']['why']}"
    return _tell(arguments.out, "efficiency", rows, found)


def transfers(arguments: argparse.Namespace) -> int:
    """Fine-tuned to VOC2007's classes, to any folders of classes, and to CamVid's masks: whichever are named."""
    given = others(arguments.cache, arguments.voc, arguments.photos, arguments.camvid)
    found = {
        name: carried_over(backbone, given, arguments.steps)
        for name, backbone in _subjects(arguments).items()
    }
    rows = {name: {task: f"{value:.1%}" for task, value in of.items()} for name, of in found.items()}
    return _tell(arguments.out, "transfer", rows, found)


def detection(arguments: argparse.Namespace) -> int:
    """Taught to find VOC2007's things by Faster R-CNN. Needs torchvision: `make detection`. What is missing is said first."""
    from model.evaluate import detection as measure

    measure.wanted()
    options = measure.Options(steps=arguments.steps)
    main = arguments.voc / "ImageSets" / "Main"
    taught, judged = (measure.pictured(main / f"{split}.txt") for split in ("trainval", "test"))
    if arguments.classes:
        taught, judged = (measure.only(each, arguments.classes) for each in (taught, judged))
    taught, judged = measure.useful(taught), judged[: arguments.limit or None]
    if not taught or not judged:
        raise InputError(
            f"{arguments.voc} has {len(taught)} photographs to learn from and {len(judged)} to be judged by, with a box that counts: "
            "both need one"
        )
    subjects = _subjects(arguments)
    print(
        f"{len(taught)} photographs to learn from, {len(judged)} to be judged by; {options.steps} steps of {options.batch} for each of "
        f"{len(subjects)} backbones. On one core without a GPU AlexNet takes some {_STEP_S} s a step and {_PHOTO_S} s a judged photo: "
        f"about {(options.steps * _STEP_S + len(judged) * _PHOTO_S) / 60:.0f} minutes each",
        flush=True,
    )
    found = {}
    for name, backbone in subjects.items():
        started = time.monotonic()
        found[name] = measure.detect(backbone, taught, judged, options)
        print(f"{name}: {_mean_ap(found[name]):.1%}, {time.monotonic() - started:.0f} s", flush=True)
    rows = {
        name: {"mean AP": f"{_mean_ap(of):.1%}"}
        | {kind: f"{value:.1%}" for kind, value in of.items() if not np.isnan(value)}
        for name, of in found.items()
    }
    return _tell(arguments.out, "detection", rows, _without_nan(found))


def _mean_ap(of: Mapping[str, float]) -> float:
    """Over the classes that are there."""
    return float(np.nanmean(list(of.values())))


def _without_nan(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """JSON has no NaN: a class that is not among the judged is null."""
    return {
        name: {kind: None if np.isnan(value) else value for kind, value in of.items()}
        for name, of in found.items()
    }


def forgets(arguments: argparse.Namespace) -> int:
    """What h knows and g(h) forgot, of runs of `simclr`."""
    runs = {run.name: building.load(run) for run in arguments.runs}
    for name, run in runs.items():
        if missing := [question for question, seen in views_of(run).items() if not seen]:
            print(
                f"{name} was not taught by views that differ in {', '.join(missing)}: these its loss did not order it to forget. "
                "A run of `simclr.projection_probe`, such as the lecture's, has all four"
            )
    seen = _material(arguments)
    found = {name: remembered(run, seen) for name, run in runs.items()}
    rows = {
        f"{run}, {of}": {question: f"{values[of]:.1%}" for question, values in asked.items()}
        for run, asked in found.items()
        for of in ("h", "g", "chance")
    }
    for run, asked in found.items():
        among = {question: "yes" if values["in_views"] else "no" for question, values in asked.items()}
        rows[f"{run}, among its views"] = among
    return _tell(arguments.out, "forgotten", rows, found)


# Readings that want files beside a backbone; the lecture uses them, too.


def picture_of_neighbors(backbone: Backbone, photos: cache.Cache, path: Path, asked: int = 6) -> None:
    labels, names = photos.labels()
    chosen = transfer.chosen(labels, min(asked, len(labels)), seed=3).tolist()
    found = neighbors.strangers(pooled(backbone, photos.squares), photos.squares, chosen, 6)
    rows = neighbors.rows(photos.squares, chosen, found, [names[label] for label in labels.tolist()])
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(rows, 80).save(path, quality=75)


def picture_of_units(backbone: Backbone, photos: cache.Cache, path: Path) -> None:
    units = dict.fromkeys((backbone.layers[1], backbone.layers[2], backbone.layers[-1]), (0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(activations.rows(backbone, photos.squares, units, 8), 56).save(path, quality=75)


@dataclass(frozen=True, eq=False)
class Others:
    """Other photographs that a backbone is fine-tuned to, those to learn from and those to be judged by; None where none were named."""

    tagged: tuple[Tagged, Tagged] | None  # VOC2007's
    classes: tuple[str, Material] | None  # the first folder's name, by which the result is called
    masked: tuple[Masked, Masked] | None  # CamVid's


def others(folder: Path, voc2007: Path | None, classes: list[Path], camvid: Path | None) -> Others:
    """VOC2007's trainval and test, classes in folders of which a third is judged by hash, CamVid's train and test.

    FileNotFoundError or ValueError, with the name of what was asked for, where a part of its layout is missing or makes no sense.
    """
    side = transfer.Options().side
    with _of("VOC2007", voc2007):
        tagged = (_tagged(voc2007, "trainval", folder), _tagged(voc2007, "test", folder)) if voc2007 else None
    with _of("classes in folders", classes[0] if classes else None):
        named = None
        if classes:
            parts = (cache.build(photos, side, folder) for photos in data.split(data.find(classes), 3))
            named = classes[0].name, readings.material(*parts)
    with _of("CamVid", camvid):
        masked = (_masked(camvid, "train"), _masked(camvid, "test")) if camvid else None
    return Others(tagged, named, masked)


def carried_over(backbone: Backbone, given: Others, steps: int) -> dict[str, float]:
    """11-point mAP on VOC2007, accuracy on the classes, mean IU on CamVid: of those given."""
    found: dict[str, float] = {}
    options = transfer.Options(steps=steps)
    if given.tagged and (precision := transfer.tag(backbone, *given.tagged, options).precision):
        found["voc2007"] = precision.value
    if given.classes:
        name, seen = given.classes
        found[name] = transfer.classify(backbone, seen.taught, seen.judged, options).accuracy.value
    if given.masked:
        segmented = segmentation.segment(backbone, *given.masked, segmentation.Options(steps=steps))
        if iu := segmented.mean_iu:
            found["camvid"] = iu.value
    return found


@contextmanager
def _of(what: str, source: Path | None) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(f"{what}, {source}: {error}") from error


def _tagged(voc2007: Path, split: str, folder: Path) -> Tagged:
    listed = voc2007 / "ImageSets" / "Main" / f"{split}.txt"
    if not listed.exists():
        raise FileNotFoundError(f"{listed} is missing, the list of the photographs of this half")
    photos = cache.build(data.find([listed]), transfer.Options().side, folder)
    return Tagged(photos.squares, voc.truth(listed, photos.photos))


def _masked(camvid: Path, split: str) -> Masked:
    return segmentation.camvid(camvid / split, camvid / f"{split}annot")


def views_of(run: Trained) -> dict[str, bool]:
    """By question, whether what is asked for was among the views of a run. ValueError for a run of another method."""
    options = run.config.options
    if not isinstance(options, simclr.SimCLROptions):
        raise InputError(f"only simclr has a projection that forgets; this run is of {run.config.method}")
    return forgotten.in_views(options)


def remembered(run: Trained, seen: Material) -> dict[str, dict[str, Any]]:
    """By question, how often it is answered rightly from h and from g, and `views_of`. ValueError for a run of another method."""
    among = views_of(run)
    assert isinstance(run.net, SimCLRNet)
    found = forgotten.forgotten(run.net, seen.taught.squares, seen.judged.squares, forgotten.Options())
    return {
        question: {
            "h": of.h.accuracy.value,
            "g": of.g.accuracy.value,
            "chance": of.chance,
            "in_views": among[question],
        }
        for question, of in found.items()
    }


def untaught(net: str, seed: int = 0) -> Backbone:
    """A backbone that knows nothing, drawn by seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return building.backbone_of(net).eval()


def _subjects(arguments: argparse.Namespace) -> dict[str, Backbone]:
    """By name: the runs' backbones, and of each kind one that knows nothing."""
    runs = {run.name: building.load(run) for run in arguments.runs}
    found = {f"random {net}": untaught(net) for net in sorted({of.config.net for of in runs.values()})}
    found |= {f"{name} ({of.config.net})": of.backbone for name, of in runs.items()}
    device = choose_device(arguments.device)
    return {name: backbone.to(device) for name, backbone in found.items()}


def _control(name: str) -> str:
    return name if name.startswith("random ") else f"random {name.rpartition('(')[2].rstrip(')')}"


def _maker(name: str, backbone: Backbone) -> Callable[[int], Backbone]:
    kind, _, net = name.partition(" ")
    device = next(backbone.parameters()).device
    return (lambda seed: untaught(net, seed).to(device)) if kind == "random" else (lambda _: backbone)


def _material(arguments: argparse.Namespace) -> Material:
    photos = (data.find(sources, arguments.exclude) for sources in (arguments.photos, arguments.judged))
    taught, judged = (cache.build(each, arguments.side, arguments.cache) for each in photos)
    for what, of in (("learn from", taught), ("judge by", judged)):
        print(f"{len(of.photos)} photographs to {what}; left out: {data.counted(of.left_out)}")
    return readings.material(taught, judged)


def _percent(values: list[float]) -> str:
    spread = f" ± {np.std(values):.1%}" if len(values) > 1 else ""
    return f"{np.mean(values):.1%}{spread}"


def _tell(folder: Path, name: str, rows: Mapping[str, Mapping[str, str]], found: Any) -> int:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    text = table(
        ["", *columns],
        [[subject, *(row.get(column, "") for column in columns)] for subject, row in rows.items()],
    )
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _file(name: str) -> str:
    return name.replace(" ", "-").replace("(", "").replace(")", "")
