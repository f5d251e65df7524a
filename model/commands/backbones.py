"""Evaluate backbones: those that runs have trained, and beside them an untrained one of each kind."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.engines import choose_device
from model.errors import InputError
from model.evaluate import efficiency as labels
from model.evaluate import finetuning, transfer
from model.evaluate import knn as neighbors
from model.evaluate import probes as measured
from model.evaluate import units as hidden
from model.evaluate.probes import Split, untrained
from model.evaluate.report import table
from model.experiments import projection as discarded
from model.nets.backbone import Backbone
from model.training import building, cache, data

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
    subjects, seen = _subjects(arguments), _photos(arguments)
    found = {
        name: measured.by_layer(backbone, seen, range(arguments.seeds), protocol)
        for name, backbone in subjects.items()
    }
    rows = {name: {layer: _percent(of) for layer, of in values.items()} for name, values in found.items()}
    return _report(arguments.out, "probes", rows, found)


def knn(arguments: argparse.Namespace) -> int:
    """Classes by the 20 nearest photos, at the run's last step."""
    subjects, seen = _subjects(arguments), _photos(arguments)
    found = {name: neighbors.accuracy(backbone, seen) for name, backbone in subjects.items()}
    rows = {
        name: {"kNN of 20": f"{of['accuracy']:.1%} ({of['low']:.1%}…{of['high']:.1%})"}
        for name, of in found.items()
    }
    return _report(arguments.out, "knn", rows, found)


def retrieval(arguments: argparse.Namespace) -> int:
    """A picture a backbone: photos, and the nearest others, no copies."""
    photos = cache.build(data.find(arguments.photos, arguments.exclude), arguments.side, arguments.cache)
    for name, backbone in _subjects(arguments).items():
        neighbors.write_picture(backbone, photos, arguments.out / f"{_file(name)}.jpg")
    print(f"the pictures: {arguments.out}")
    return 0


def units(arguments: argparse.Namespace) -> int:
    """A picture a backbone: the photos and patches that excite hidden units most."""
    photos = cache.build(data.find(arguments.photos, arguments.exclude), arguments.side, arguments.cache)
    for name, backbone in _subjects(arguments).items():
        hidden.write_picture(backbone, photos, arguments.out / f"{_file(name)}.jpg")
    print(f"the pictures: {arguments.out}")
    return 0


def efficiency(arguments: argparse.Namespace) -> int:
    """Accuracy by the number of labels, fine-tuned; and what a start is worth in labels beside a net from scratch."""
    subjects, seen = _subjects(arguments), _photos(arguments)
    options = finetuning.Options(steps=arguments.steps, side=arguments.side)
    found: dict[str, dict[str, Any]] = {}
    for name, backbone in subjects.items():
        found[name] = labels.curve(
            _maker(name, backbone), seen, arguments.labels, range(arguments.seeds), options
        )
    rows = {}
    for name, values in found.items():
        means = np.mean(values["accuracy"], 0)
        rows[name] = {str(count): f"{mean:.1%}" for count, mean in zip(values["labels"], means, strict=True)}
        scratch = found[_control(name)]
        if values is not scratch:
            values["utility"], values["verdict"] = labels.worth(values, scratch)
            for one in values["utility"]:
                rows[name][f"U({one['labels']})"] = one["text"]
            rows[name]["outcome"] = f"{values['verdict']['outcome']}: {values['verdict']['why']}"
    return _report(arguments.out, "efficiency", rows, found)


def transfers(arguments: argparse.Namespace) -> int:
    """Fine-tuned to VOC2007's classes, to any folders of classes, and to CamVid's masks: whichever are named."""
    given = transfer.others(arguments.cache, arguments.voc, arguments.photos, arguments.camvid)
    found = {
        name: transfer.transfer(backbone, given, arguments.steps)
        for name, backbone in _subjects(arguments).items()
    }
    rows = {name: {task: f"{value:.1%}" for task, value in of.items()} for name, of in found.items()}
    return _report(arguments.out, "transfer", rows, found)


def detection(arguments: argparse.Namespace) -> int:
    """Fine-tuned to detect VOC2007's objects by Faster R-CNN. Needs torchvision: `make detection`. What is missing is said first."""
    from model.evaluate import detection as measure

    measure.require_torchvision()
    options = measure.Options(steps=arguments.steps)
    main = arguments.voc / "ImageSets" / "Main"
    train, test = (measure.pictured(main / f"{split}.txt") for split in ("trainval", "test"))
    if arguments.classes:
        train, test = (measure.only(each, arguments.classes) for each in (train, test))
    train, test = measure.useful(train), test[: arguments.limit or None]
    if not train or not test:
        raise InputError(
            f"{arguments.voc} has {len(train)} photographs to learn from and {len(test)} to be judged by, with a box that counts: "
            "both need one"
        )
    subjects = _subjects(arguments)
    print(
        f"{len(train)} photographs to learn from, {len(test)} to be judged by; {options.steps} steps of {options.batch} for each of "
        f"{len(subjects)} backbones. On one core without a GPU AlexNet takes some {_STEP_S} s a step and {_PHOTO_S} s a judged photo: "
        f"about {(options.steps * _STEP_S + len(test) * _PHOTO_S) / 60:.0f} minutes each",
        flush=True,
    )
    found = {}
    for name, backbone in subjects.items():
        started = time.monotonic()
        found[name] = measure.detect(backbone, train, test, options)
        print(f"{name}: {_mean_ap(found[name]):.1%}, {time.monotonic() - started:.0f} s", flush=True)
    rows = {
        name: {"mean AP": f"{_mean_ap(of):.1%}"}
        | {kind: f"{value:.1%}" for kind, value in of.items() if not np.isnan(value)}
        for name, of in found.items()
    }
    return _report(arguments.out, "detection", rows, _without_nan(found))


def _mean_ap(of: Mapping[str, float]) -> float:
    """Over the classes that are there."""
    return float(np.nanmean(list(of.values())))


def _without_nan(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """JSON has no NaN: a class that is not in the test is null."""
    return {
        name: {kind: None if np.isnan(value) else value for kind, value in of.items()}
        for name, of in found.items()
    }


def projection(arguments: argparse.Namespace) -> int:
    """What h holds and g(h) does not, of runs of `simclr`."""
    runs = {run.name: building.load(run) for run in arguments.runs}
    for name, run in runs.items():
        if missing := [kind for kind, among in discarded.views_of(run).items() if not among]:
            print(
                f"{name} was not trained by views that differ in {', '.join(missing)}: its loss did not discard these. "
                "A run of `simclr.projection_probe`, such as the lecture's, has all four"
            )
    seen = _photos(arguments)
    found = {name: discarded.measure(run, seen) for name, run in runs.items()}
    rows = {
        f"{run}, {of}": {kind: f"{values[of]:.1%}" for kind, values in kinds.items()}
        for run, kinds in found.items()
        for of in ("h", "g", "chance")
    }
    for run, kinds in found.items():
        among = {kind: "yes" if values["in_views"] else "no" for kind, values in kinds.items()}
        rows[f"{run}, among its views"] = among
    return _report(arguments.out, "projection", rows, found)


def _subjects(arguments: argparse.Namespace) -> dict[str, Backbone]:
    """By name: the runs' backbones, and of each kind an untrained one."""
    runs = {run.name: building.load(run) for run in arguments.runs}
    found = {f"random {net}": untrained(net) for net in sorted({of.config.net for of in runs.values()})}
    found |= {f"{name} ({of.config.net})": of.backbone for name, of in runs.items()}
    device = choose_device(arguments.device)
    return {name: backbone.to(device) for name, backbone in found.items()}


def _control(name: str) -> str:
    return name if name.startswith("random ") else f"random {name.rpartition('(')[2].rstrip(')')}"


def _maker(name: str, backbone: Backbone) -> Callable[[int], Backbone]:
    kind, _, net = name.partition(" ")
    device = next(backbone.parameters()).device
    return (lambda seed: untrained(net, seed).to(device)) if kind == "random" else (lambda _: backbone)


def _photos(arguments: argparse.Namespace) -> Split:
    photos = (data.find(sources, arguments.exclude) for sources in (arguments.photos, arguments.judged))
    train, test = (cache.build(each, arguments.side, arguments.cache) for each in photos)
    for what, of in (("learn from", train), ("judge by", test)):
        print(f"{len(of.photos)} photographs to {what}; left out: {data.counted(of.left_out)}")
    return measured.split(train, test)


def _percent(values: list[float]) -> str:
    spread = f" ± {np.std(values):.1%}" if len(values) > 1 else ""
    return f"{np.mean(values):.1%}{spread}"


def _report(folder: Path, name: str, rows: Mapping[str, Mapping[str, str]], found: Any) -> int:
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
