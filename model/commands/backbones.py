"""Evaluate backbones: those that runs have trained, and beside them an untrained one of each kind: of each net, and of what it sees, colors
or lightness alone."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option, Typer

from model.commands.options import CACHE, Cache, Device, Exclude, Out, Probes, Runs, Voc
from model.errors import InputError

if TYPE_CHECKING:
    from model.evaluate.probes import Split
    from model.nets.backbone import Backbone

_GRAY = ", gray"
_STEP_S, _PHOTO_S = (
    0.9,
    0.1,
)  # of detection, of one core: 0.65 and 0.055 in a short timing, more in a long run

app = Typer()

Photos = Annotated[list[Path], Option("--photos", metavar="DIR...", help="with a folder a class")]
Judged = Annotated[
    list[Path],
    Option("--judged", metavar="DIR...", help="photos to judge by, with the same folders"),
]
Side = Annotated[int, Option("--side", metavar="PIXELS", help="of the photos' squares")]
Seeds = Annotated[int, Option("--seeds", metavar="N", min=1)]


@app.command(short_help="what each layer knows: linear probes, all layers in one pass")
def probes(
    runs: Runs,
    photos: Photos,
    judged: Judged,
    exclude: Exclude = [],
    protocol: Probes = "small",
    epochs: Annotated[
        int | None, Option(metavar="N", help="of the probes (default: the protocol's, 28)")
    ] = None,
    seeds: Seeds = 3,
    draws: Annotated[int, Option(metavar="N", min=1, help="of an untrained net, a seed each")] = 3,
    limit_photos: Annotated[
        int,
        Option(metavar="N", show_default=False, help="at most so many of --photos, evenly over classes"),
    ] = 0,
    limit_judged: Annotated[
        int,
        Option(metavar="N", show_default=False, help="at most so many of --judged, always the same"),
    ] = 0,
    side: Annotated[
        int | None,
        Option(metavar="PIXELS", help="of the photos' squares (default: the protocol's, 128 for small)"),
    ] = None,
    cache: Cache = CACHE,
    device: Device = "auto",
    out: Out = Path("out/probes"),
) -> int:
    """Linear probes on every layer: mean and deviation over seeds, of an untrained net over draws of it. Of each net's best layer the
    accuracy with its 95% interval, and how much that is above the untrained net's of as many channels. The best layer is chosen by the
    judged photographs, which favors every net alike."""
    from model.evaluate import probes as measured
    from model.evaluate.intervals import as_plain, as_text

    settings = measured.protocol(protocol)
    settings = replace(settings, epochs=epochs or settings.epochs)
    side = side or settings.photo
    if (settings.crop or 0) > side:
        raise InputError(f"{protocol} crops {settings.crop} pixels: --side {settings.photo}, or none")
    subjects, seen = _subjects(runs, device), _photos(photos, judged, exclude, side, cache)
    if limit_photos or limit_judged:
        seen = seen.some(limit_photos or len(seen.train.labels), limit_judged or len(seen.test.labels))
    right = {
        name: measured.by_layer(
            _maker(name, backbone),
            seen,
            range(draws if _control(name, backbone) == name else seeds),
            settings,
        )
        for name, backbone in subjects.items()
    }
    found: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[str, str]] = {}
    for name, layers in right.items():
        accuracy = {layer: of.mean(1).tolist() for layer, of in layers.items()}
        best, numbers = measured.best(layers), {"accuracy": measured.samples(layers)}
        found[name] = {"layers": accuracy, "best": best}
        rows[name] = {layer: _percent(of) for layer, of in accuracy.items()}
        rows[name]["best layer, %"] = f"{best}: {as_text('', 100 * numbers['accuracy'], 1)}"
        control = _control(name, subjects[name])
        if control != name:
            numbers["above"] = measured.above(layers, right[control])
            found[name]["control"] = control
            rows[name]["points above"] = f"{control}: {as_text('', 100 * numbers['above'], 1, signed=True)}"
        found[name] |= as_plain({name: numbers})[name]
    return _report(out, "probes", rows, found)


@app.command(short_help="classes by the 20 nearest photos")
def knn(
    runs: Runs,
    photos: Photos,
    judged: Judged,
    exclude: Exclude = [],
    side: Side = 128,
    cache: Cache = CACHE,
    device: Device = "auto",
    out: Out = Path("out/knn"),
) -> int:
    """Classes by the 20 nearest photos, at the run's last step."""
    from model.evaluate import knn as neighbors

    subjects, seen = _subjects(runs, device), _photos(photos, judged, exclude, side, cache)
    found = {name: neighbors.accuracy(backbone, seen) for name, backbone in subjects.items()}
    rows = {
        name: {"kNN of 20": f"{of['accuracy']:.1%} ({of['low']:.1%}…{of['high']:.1%})"}
        for name, of in found.items()
    }
    return _report(out, "knn", rows, found)


@app.command(short_help="pictures of photos and the nearest others, copies left out")
def retrieval(
    runs: Runs,
    photos: Photos,
    exclude: Exclude = [],
    side: Side = 128,
    cache: Cache = CACHE,
    device: Device = "auto",
    out: Out = Path("out/retrieval"),
) -> int:
    """A picture a backbone: photos, and the nearest others, no copies."""
    from model.evaluate import knn as neighbors
    from model.training import cache as caches
    from model.training import data

    seen = caches.build(data.find(photos, exclude), side, cache)
    for name, backbone in _subjects(runs, device).items():
        neighbors.write_picture(backbone, seen, out / f"{_file(name)}.jpg")
    print(f"the pictures: {out}")
    return 0


@app.command(short_help="pictures of what excites hidden units most")
def units(
    runs: Runs,
    photos: Photos,
    exclude: Exclude = [],
    side: Side = 128,
    cache: Cache = CACHE,
    device: Device = "auto",
    out: Out = Path("out/units"),
) -> int:
    """A picture a backbone: the photos and patches that excite hidden units most."""
    from model.evaluate import units as hidden
    from model.training import cache as caches
    from model.training import data

    seen = caches.build(data.find(photos, exclude), side, cache)
    for name, backbone in _subjects(runs, device).items():
        hidden.write_picture(backbone, seen, out / f"{_file(name)}.jpg")
    print(f"the pictures: {out}")
    return 0


@app.command(short_help="accuracy by the number of labels, and their utility")
def efficiency(
    runs: Runs,
    photos: Photos,
    judged: Judged,
    exclude: Exclude = [],
    labels: Annotated[list[int], Option(metavar="N...", help="how many are given")] = [
        20,
        90,
        300,
        900,
        3000,
    ],
    steps: Annotated[int, Option(metavar="N", help="of fine-tuning")] = 200,
    seeds: Seeds = 3,
    side: Side = 128,
    cache: Cache = CACHE,
    device: Device = "auto",
    out: Out = Path("out/efficiency"),
) -> int:
    """Accuracy by the number of labels, fine-tuned; and what a start is worth in labels beside a net from scratch."""
    import numpy as np

    from model.evaluate import efficiency as measured
    from model.evaluate import finetuning

    subjects, seen = _subjects(runs, device), _photos(photos, judged, exclude, side, cache)
    options = finetuning.Options(steps=steps, side=side)
    found: dict[str, dict[str, Any]] = {}
    for name, backbone in subjects.items():
        found[name] = measured.curve(_maker(name, backbone), seen, labels, range(seeds), options)
    rows = {}
    for name, values in found.items():
        means = np.mean(values["accuracy"], 0)
        rows[name] = {str(count): f"{mean:.1%}" for count, mean in zip(values["labels"], means, strict=True)}
        scratch = found[_control(name, subjects[name])]
        if values is not scratch:
            values["utility"], values["verdict"] = measured.worth(values, scratch)
            for one in values["utility"]:
                rows[name][f"U({one['labels']})"] = one["text"]
            rows[name]["outcome"] = f"{values['verdict']['outcome']}: {values['verdict']['why']}"
    return _report(out, "efficiency", rows, found)


@app.command(short_help="fine-tuned to VOC2007, classes in folders, CamVid")
def transfer(
    runs: Runs,
    photos: Annotated[
        list[Path], Option(metavar="[DIR]...", help="classes in folders; a third is judged")
    ] = [],
    voc: Voc = None,
    camvid: Annotated[
        Path | None,
        Option(metavar="DIR", help="CamVid, with train, trainannot, test and testannot"),
    ] = None,
    steps: Annotated[int, Option(metavar="N", help="of fine-tuning")] = 100,
    cache: Cache = CACHE,
    device: Device = "auto",
    out: Out = Path("out/transfer"),
) -> int:
    """Fine-tuned to VOC2007's classes, to any folders of classes, and to CamVid's masks: whichever are named."""
    from model.evaluate import transfer as measured

    if not (photos or voc or camvid):
        raise InputError("nothing to transfer to: name --photos, --voc or --camvid")
    given = measured.others(cache, voc, photos, camvid)
    found = {
        name: measured.transfer(backbone, given, steps) for name, backbone in _subjects(runs, device).items()
    }
    rows = {name: {task: f"{value:.1%}" for task, value in of.items()} for name, of in found.items()}
    return _report(out, "transfer", rows, found)


@app.command(
    short_help="fine-tuned to detect VOC2007's objects; needs torchvision, VOC2007, and minutes for each run: `make detection`"
)
def detection(
    runs: Runs,
    voc: Annotated[Path, Option(metavar="DIR", help="VOC2007 in its layout")],
    steps: Annotated[int, Option(metavar="N", help="of 4 photos")] = 200,
    limit: Annotated[
        int, Option(metavar="N", show_default=False, help="at most so many photos to judge by")
    ] = 0,
    classes: Annotated[
        list[str],
        Option(
            metavar="NAME...",
            help="only these of VOC's, and the photos that have them: an easier evaluation, not VOC's mAP",
        ),
    ] = [],
    device: Device = "auto",
    out: Out = Path("out/detection"),
) -> int:
    """Fine-tuned to detect VOC2007's objects by Faster R-CNN. Needs torchvision: `make detection`. What is missing is said first."""
    from model.evaluate import detection as measure

    measure.require_torchvision()
    options = measure.Options(steps=steps)
    main = voc / "ImageSets" / "Main"
    train, test = (measure.pictured(main / f"{split}.txt") for split in ("trainval", "test"))
    if classes:
        train, test = (measure.only(each, classes) for each in (train, test))
    train, test = measure.useful(train), test[: limit or None]
    if not train or not test:
        raise InputError(
            f"{voc} has {len(train)} photographs to learn from and {len(test)} to be judged by, with a box that counts: "
            "both need one"
        )
    subjects = _subjects(runs, device)
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
        | {kind: f"{value:.1%}" for kind, value in of.items() if not math.isnan(value)}
        for name, of in found.items()
    }
    return _report(out, "detection", rows, _without_nan(found))


def _mean_ap(of: Mapping[str, float]) -> float:
    """Over the classes that are there."""
    import numpy as np

    return float(np.nanmean(list(of.values())))


def _without_nan(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """JSON has no NaN: a class that is not in the test is null."""
    return {
        name: {kind: None if math.isnan(value) else value for kind, value in of.items()}
        for name, of in found.items()
    }


@app.command(short_help="what a run of simclr holds before and after its projection")
def projection(
    runs: Runs,
    photos: Photos,
    judged: Judged,
    exclude: Exclude = [],
    side: Side = 128,
    cache: Cache = CACHE,
    device: Device = "auto",
    out: Out = Path("out/projection"),
) -> int:
    """What h holds and g(h) does not, of runs of `simclr`."""
    from model.experiments import projection as discarded
    from model.runtimes.torch_engine import choose_device
    from model.training import building

    chosen = choose_device(device)
    trained = {name: building.load(run) for name, run in _named(runs).items()}
    for name, run in trained.items():
        run.net.to(chosen)
        if missing := [kind for kind, among in discarded.views_of(run).items() if not among]:
            print(
                f"{name} was not trained by views that differ in {', '.join(missing)}: its loss did not discard these. "
                "The lecture's run has all four, and docs/self_supervised.md has the command for one"
            )
    seen = _photos(photos, judged, exclude, side, cache)
    found = {name: discarded.measure(run, seen) for name, run in trained.items()}
    rows = {
        f"{run}, {of}": {kind: f"{values[of]:.1%}" for kind, values in kinds.items()}
        for run, kinds in found.items()
        for of in ("h", "g", "chance")
    }
    for of_run, kinds in found.items():
        among = {kind: "yes" if values["in_views"] else "no" for kind, values in kinds.items()}
        rows[f"{of_run}, among its views"] = among
    return _report(out, "projection", rows, found)


def _subjects(runs: Sequence[Path], device: str) -> dict[str, Backbone]:
    """By name: the runs' backbones, and of each kind an untrained one."""
    from model.evaluate.probes import untrained
    from model.runtimes.torch_engine import choose_device
    from model.training import building

    trained = {name: building.load(run) for name, run in _named(runs).items()}
    kinds = {(of.config.net, of.backbone.channels) for of in trained.values()}
    found = {
        _random(net, channels): untrained(net, channels=channels)
        for net, channels in sorted(kinds, key=lambda kind: (kind[0], -kind[1]))
    }
    found |= {f"{name} ({of.config.net})": of.backbone for name, of in trained.items()}
    chosen = choose_device(device)
    return {name: backbone.to(chosen) for name, backbone in found.items()}


def _named(runs: Sequence[Path]) -> dict[str, Path]:
    """By the name of its folder, or as much of its path as tells all apart. InputError for a run that is named twice."""
    paths = [run.absolute().parts for run in runs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = {"/".join(parts[-depth:]): run for parts, run in zip(paths, runs, strict=True)}
        if len(names) == len(runs):
            return names
    raise InputError(f"a run is named twice: {' '.join(map(str, runs))}")


def _random(net: str, channels: int) -> str:
    return f"random {net}{_GRAY if channels == 1 else ''}"


def _control(name: str, backbone: Backbone) -> str:
    """The untrained net beside it, or itself."""
    if name.startswith("random "):
        return name
    return _random(name.rpartition("(")[2].rstrip(")"), backbone.channels)


def _maker(name: str, backbone: Backbone) -> Callable[[int], Backbone]:
    """By seed: of an untrained net another draw, of a trained one the same."""
    from model.evaluate.probes import untrained

    if _control(name, backbone) != name:
        return lambda _: backbone
    net, device = name.removeprefix("random ").removesuffix(_GRAY), next(backbone.parameters()).device
    return lambda seed: untrained(net, seed, backbone.channels).to(device)


def _photos(
    photos: Sequence[Path], judged: Sequence[Path], exclude: Sequence[str], side: int, folder: Path
) -> Split:
    from model.evaluate import probes as measured
    from model.training import cache, data

    found = (data.find(sources, exclude) for sources in (photos, judged))
    train, test = (cache.build(each, side, folder) for each in found)
    for what, of in (("learn from", train), ("judge by", test)):
        print(f"{len(of.photos)} photographs to {what}; left out: {data.counted(of.left_out)}")
    return measured.split(train, test)


def _percent(values: list[float]) -> str:
    import numpy as np

    spread = f" ± {np.std(values):.1%}" if len(values) > 1 else ""
    return f"{np.mean(values):.1%}{spread}"


def _report(folder: Path, name: str, rows: Mapping[str, Mapping[str, str]], found: Any) -> int:
    from model.evaluate.report import table

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
    return re.sub(r"[ /]", "-", re.sub(r"[(),]", "", name))
