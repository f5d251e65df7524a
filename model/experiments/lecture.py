"""The lecture: every method on every net, trained on the same photos for about the same time, and evaluated alike; one page of it.

What the photos are too few for, or what is missing, is said before the first net is trained. The projection probe is of a SimCLR run of
its own, whose views have the transformations that it predicts.

Each result is a file of its own, runs have folders of their own: whatever stops the command, the same command resumes there. Two of them,
for different nets, may run beside each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.errors import InputError
from model.evaluate import efficiency, finetuning, knn, probes, transfer, units
from model.evaluate.probes import Protocol, Split, untrained
from model.evaluate.transfer import Others
from model.experiments import aberration, augmentation_pairs, page, projection
from model.experiments.results import Results
from model.methods import context, simclr
from model.nets.backbone import Backbone
from model.training import building, cache, data
from model.training import config as configs
from model.training.cache import Cache
from model.training.config import Config

PROJECTION = "projection"  # the run of the projection probe
UNTRAINED = {page.RANDOM: 3, page.RANDOM_GRAY: 1}  # channels that each sees
CLEAN = "ILSVRC2012_val_*"  # photos of Imagenette that classifiers were not trained on: not ours either

Train = Callable[[Config, Sequence[Cache], Path, torch.device], object]
"""Trains by a configuration in a run's folder, to the end or from its checkpoint on."""


@dataclass(frozen=True)
class Plan:
    """How much of everything. Steps are such that on one core each method of a net takes about as long as the others."""

    steps: Mapping[str, Mapping[str, int]]
    side: int = 96  # of the photos that backbones are evaluated on, in pixels
    known: int = 4000  # photos that probes are trained on, at most
    judged: int = 1500  # and tested on
    protocol: str = "small"  # of `probes.PROTOCOLS`; the papers' have photos and epochs of their own
    epochs: int = 12  # of small's probes
    probe_seeds: int = 3
    labels: tuple[int, ...] = (20, 90, 300, 900, 3000)  # 90 and 900 are 1% and 10% of Imagenette
    seeds: int = 3
    tuning: finetuning.Options = field(default_factory=lambda: finetuning.Options(steps=200))
    tuned: int = 1000  # photos that fine-tuned nets are tested on
    transferred: int = 100  # steps
    paired: int = 2000  # photos of the augmentations' matrix
    fringed: int = 600  # photos
    pairs: augmentation_pairs.Options = field(default_factory=augmentation_pairs.Options)
    projected: Mapping[str, int] = field(default_factory=dict)  # steps, by net, of the projection probe's run
    batch: int | None = None  # photos of a training step, at most
    each: int = 20  # photos of each class to train on, at least: as many as vote in kNN

    def recipe(self, method: str, net: str) -> Config:
        """What a method is trained by."""
        small = configs.small(method, net)
        return replace(
            small, steps=self.steps[net][method], batch=min(small.batch, self.batch or small.batch)
        )

    def projection(self, net: str) -> Config:
        """What SimCLR is trained by for the projection probe."""
        recipe = self.recipe("simclr", net)
        assert isinstance(recipe.options, simclr.SimCLROptions)
        options = simclr.projection_probe(recipe.options)
        return replace(recipe, options=options, steps=self.projected[net])

    def probing(self) -> Protocol:
        """The protocol of probes; small's is for the plan's photos."""
        protocol = probes.protocol(self.protocol)
        if self.protocol != "small":
            return protocol
        return replace(protocol, photo=self.side, epochs=self.epochs)


def hours() -> Plan:
    """Some five hours of one core in all."""
    return Plan(
        {
            "alexnet": {"simclr": 580, "context": 600, "colorize": 1600, "supervised": 2100},
            "resnet18": {"simclr": 310, "context": 260, "colorize": 900, "supervised": 1000},
        },
        projected={"alexnet": 290, "resnet18": 155},
    )


def minutes() -> Plan:
    """To see that it runs: its numbers mean nothing."""
    steps = dict.fromkeys(("context", "colorize", "simclr", "supervised"), 2)
    tuning = finetuning.Options(steps=2, batch=4, side=64)
    return Plan(
        {"alexnet": steps},
        side=64,
        known=24,
        judged=12,
        epochs=1,
        probe_seeds=1,
        labels=(4, 8),
        seeds=2,
        tuning=tuning,
        tuned=12,
        transferred=2,
        paired=24,
        fringed=32,
        pairs=augmentation_pairs.Options(steps=2, batch=4, side=32),
        projected={"alexnet": 2},
        batch=8,
        each=1,
    )


PLANS = {"hours": hours, "minutes": minutes}


@dataclass(frozen=True)
class Folders:
    """Where photographs are: with train and val, each with a folder a class; the others are for transfer, and may be missing."""

    photos: Path
    gallery: Path | None  # classes in folders, for pictures too
    voc: Path | None
    camvid: Path | None
    cache: Path


@dataclass(frozen=True, eq=False)
class Photos:
    """The photos that backbones are trained on, by their side in pixels, and those that they are evaluated on."""

    train: Callable[[int], Cache]
    seen: Split
    probed: Split  # those of the probes, as large as their protocol has them
    others: Others
    gallery: Cache | None


def measure(plan: Plan, nets: Collection[str], of: Folders, results: Results, train: Train) -> dict[str, Any]:
    """Train and evaluate, or go on with it; what the photographs are. InputError for too few, before any net is trained."""
    _refuse(_missing(of.photos, nets, plan.steps))
    wanted = [net for net in plan.steps if net in nets] if nets else list(plan.steps)
    photos = _photos(plan, wanted, of)
    sets = {"photos": of.photos, "gallery": of.gallery, "voc": of.voc, "camvid": of.camvid}
    results.begin({"plan": asdict(plan)} | {name: path.name if path else None for name, path in sets.items()})

    def finish(recipe: Config, run: Path) -> None:
        if not _finished(run, recipe.steps):
            train(recipe, [_learned(recipe, photos.train)], run, torch.device("cpu"))

    for net in wanted:
        for method in plan.steps[net]:
            finish(plan.recipe(method, net), _run(results, net, method))
        for method in (*UNTRAINED, *plan.steps[net]):
            _evaluate(results, plan, net, method, photos)
        if net in plan.projected:
            finish(plan.projection(net), _run(results, net, PROJECTION))
            few = photos.seen.some(plan.known // 2, plan.judged // 2)
            results.once(f"{net}-projection", partial(_projection, results, net, few))
    results.once("panel", partial(_panel, results))
    results.once("fringes", partial(_fringes, results, plan, photos.train(160)))
    results.once("pairwise", partial(_pairs, results, plan, photos.seen))
    results.once("pairwise-untrained", partial(_untrained_pairs, plan, photos.seen))
    return {
        "name": of.photos.name.capitalize(),
        "photos": len(photos.seen.train.labels),
        "judged": len(photos.seen.test.labels),
        "classes": list(photos.seen.names),
        "side": plan.side,
    }


def publish(results: Results, plan: Plan, photographs: Mapping[str, Any], made: Mapping[str, str]) -> Path:
    """lecture.json, overview.md and the page, of all results in the folder, also of another command beside this one."""
    found = {"made": made, "data": photographs} | _gathered(results, plan)
    results.write(results.folder / "lecture.json", found)
    (results.folder / "overview.md").write_text(page.overview(found["subjects"]))
    return page.write(found, results.folder)


# What it needs of its photographs: hours later it would be too late


def _photos(plan: Plan, nets: Sequence[str], of: Folders) -> Photos:
    """InputError, with all that is missing, where they are too few for the plan."""
    train, test = (
        partial(_squares, data.find([of.photos / split], [CLEAN]), folder=of.cache)
        for split in ("train", "val")
    )
    protocol = plan.probing()
    seen = probes.split(train(plan.side), test(plan.side))
    probed = probes.split(train(protocol.photo), test(protocol.photo))
    recipes = [plan.recipe(method, net) for net in nets for method in plan.steps[net]]
    shown = min(len(train(side).photos) for side in {recipe.shape.side for recipe in recipes})
    problems = _too_few(seen, plan.labels, shown, max(recipe.batch for recipe in recipes), plan.each)
    colorize = next(recipe for recipe in recipes if recipe.method == "colorize")
    if (count := len(_learned(colorize, train))) < colorize.batch:
        problems.append(
            f"colorization learns from {colorize.batch} different color photographs a step, and {count:,} in train are such: give more"
        )
    _refuse(problems)
    classes = [of.gallery] if of.gallery else []
    others = transfer.others(of.cache, of.voc, classes, of.camvid)
    gallery = _squares(data.find(classes), plan.side, of.cache) if classes else None
    return Photos(train, seen, probed, others, gallery)


def _learned(recipe: Config, train: Callable[[int], Cache]) -> Cache:
    """What a method is trained on: to color, photographs that have colors, each once, as `session.photographs` has it."""
    photos = train(recipe.shape.side)
    return cache.colorful([photos])[0][0] if recipe.method == "colorize" else photos


def _missing(photos: Path, nets: Collection[str], known: Collection[str]) -> list[str]:
    """What is wrong with the folder of photographs and with the names of nets, a sentence each; nothing is decoded."""
    found = []
    for split in ("train", "val"):
        if not (photos / split).is_dir():
            found.append(
                f"{photos / split} is missing: {photos} needs train and val, each with a folder a class"
            )
    found += [
        f"the plan has no net {net!r}: --nets takes {' and '.join(known)}" for net in nets if net not in known
    ]
    return found


def _too_few(seen: Split, labels: Sequence[int], shown: int, batch: int, each: int) -> list[str]:
    """What photographs are too few for, a sentence each: for so many labels, for so many of each class to train on, and for kNN; and
    those `shown` in training, which sees them larger and uses no small ones, for a step of so many."""
    count, vote = len(seen.train.labels), knn.VOTES
    found = []
    if count < max(labels):
        enough = [str(of) for of in labels if of <= count]
        instead = f", or --labels {' '.join(enough)}" if enough else ""
        found.append(
            f"fine-tuning by {max(labels):,} labels needs as many photographs in train, and {count:,} can be used: give more{instead}"
        )
    if shown < batch:
        found.append(
            f"a training step shows {batch:,} different photographs, and {shown:,} in train can be used: give more"
        )
    if count < vote:
        found.append(
            f"kNN asks the {vote} nearest photographs, and {count:,} in train can be used: give more"
        )
    of_class = Counter(seen.train.labels.tolist())
    few = [
        f"{name} has {of_class[kind]}" for kind, name in enumerate(seen.names) if 0 < of_class[kind] < each
    ]
    if few:
        found.append(f"kNN needs {each} photographs of each class in train: {', '.join(few)}")
    if len(seen.names) < 2:
        found.append(
            f"classes are told apart, and there is one only, {', '.join(seen.names)}: train and val need a folder for each"
        )
    return found


def _squares(photos: Sequence[Path], side: int, folder: Path) -> Cache:
    """`cache.build`. InputError where all are too small for squares of this side, or cannot be read."""
    try:
        return cache.build(photos, side, folder)
    except ValueError as error:
        raise InputError(
            f"{photos[0].parent.parent}, as squares of {side} pixels: {error}; a photograph's shorter side must be half of that at least"
        ) from error


def _refuse(problems: Sequence[str]) -> None:
    """InputError with all of them, where there are any."""
    if problems:
        raise InputError(
            "the lecture cannot begin, nothing was trained:\n" + "\n".join(f"- {one}" for one in problems)
        )


# What is measured


def _evaluate(results: Results, plan: Plan, net: str, method: str, photos: Photos) -> None:
    """All evaluations of one backbone."""
    name = f"{net}-{method}"
    channels = UNTRAINED.get(method)
    backbone = (
        untrained(net, channels=channels) if channels else building.load(_run(results, net, method)).backbone
    )

    def make(seed: int) -> Backbone:
        return untrained(net, seed, channels) if channels else backbone

    few = photos.seen.some(len(photos.seen.train.labels), plan.tuned)
    part = f"{name}-efficiency"
    keep = partial(results.keep, part)
    results.once(f"{name}-knn", lambda: knn.accuracy(backbone, photos.seen))
    results.once(f"{name}-probes", lambda: _probes(make, plan, photos.probed))
    results.once(
        part,
        lambda: efficiency.curve(
            make, few, plan.labels, range(plan.seeds), plan.tuning, results.unfinished(part), keep
        ),
    )
    results.once(f"{name}-transfer", lambda: transfer.transfer(backbone, photos.others, plan.transferred))
    if gallery := photos.gallery:
        results.once(f"{name}-pictures", lambda: _pictures(backbone, gallery, results.folder, name))


def _probes(make_backbone: Callable[[int], Backbone], plan: Plan, probed: Split) -> dict[str, Any]:
    """By layer: the accuracy of each seed's probe."""
    # Of a paper's protocol they are a gigabyte: in memory only for as long as they are looked at.
    few = probed.some(plan.known, plan.judged)
    found = probes.by_layer(make_backbone, few, range(plan.probe_seeds), plan.probing())
    return {layer: right.mean(1).tolist() for layer, right in found.items()}


def _pictures(backbone: Backbone, gallery: Cache, folder: Path, name: str) -> dict[str, str]:
    found = {"neighbors": f"pictures/{name}-neighbors.jpg", "activations": f"pictures/{name}-units.jpg"}
    knn.write_picture(backbone, gallery, folder / found["neighbors"])
    units.write_picture(backbone, gallery, folder / found["activations"])
    return found


def _projection(results: Results, net: str, seen: Split) -> dict[str, dict[str, Any]]:
    return projection.measure(building.load(_run(results, net, PROJECTION)), seen)


def _panel(results: Results) -> str:
    picture = results.folder / "pictures" / "panel.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    augmentation_pairs.panel(data.read(_cat())).save(picture, quality=80)
    return "pictures/panel.jpg"


def _fringes(results: Results, plan: Plan, squares: Cache) -> dict[str, Any]:
    picture = results.folder / "pictures" / "fringes.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    aberration.figure(data.read(_cat())).save(picture, quality=85)
    few = torch.from_numpy(squares.squares[: plan.fringed].copy())
    found = aberration.shortcut(few, context.small())
    rows = [
        {"lens": lens, "colors": colors, "target": target} | asdict(probed)
        for (lens, colors, target), probed in found.items()
    ]
    return {"picture": "pictures/fringes.jpg", "photos": len(few), "rows": rows}


def _cat() -> Path:
    """Chelsea, of scikit-image: S. van der Walt, CC0."""
    return next(path for path in data.find([Path("scikit-image")]) if path.stem == "chelsea")


def _pairs(results: Results, plan: Plan, seen: Split) -> dict[str, Any]:
    few = seen.some(plan.paired, plan.paired // 2)
    options = plan.pairs
    known = results.unfinished("pairwise")
    accuracy = augmentation_pairs.matrix(
        lambda: untrained("alexnet"),
        few.train,
        few.test,
        options,
        known,
        partial(results.keep, "pairwise"),
    )
    caption = (
        f"AlexNet, {options.steps} steps of {options.batch} photos at {options.side} pixels a cell, from one seed; kNN of 20 among "
        f"{len(few.train.labels)} photos, {len(few.test.labels)} judged. Far from the paper's 100 epochs of ImageNet."
    )
    return {"steps": list(augmentation_pairs.STEPS), "accuracy": accuracy, "caption": caption}


def _untrained_pairs(plan: Plan, seen: Split) -> float:
    few = seen.some(plan.paired, plan.paired // 2)
    return augmentation_pairs.untrained(lambda: untrained("alexnet"), few.train, few.test)


def _gathered(results: Results, plan: Plan) -> dict[str, Any]:
    """All results, also those of another command beside this one."""
    subjects: list[dict[str, Any]] = []
    for net in plan.steps:
        for method in (*UNTRAINED, *plan.steps[net]):
            name = f"{net}-{method}"
            control = page.RANDOM_GRAY if method == "colorize" else page.RANDOM
            scratch = results.get(f"{net}-{control}-efficiency")
            subject: dict[str, Any] = {
                "net": net,
                "method": method,
                "layers": list(untrained(net).layers),
                "probes": results.get(f"{name}-probes"),
                "neighbors": results.get(f"{name}-knn"),
                "efficiency": results.get(f"{name}-efficiency"),
                "transfer": results.get(f"{name}-transfer"),
                "pictures": results.get(f"{name}-pictures"),
                "utility": None,
                "verdict": None,
            }
            if method not in UNTRAINED and subject["efficiency"] and scratch:
                subject["utility"], subject["verdict"] = efficiency.worth(subject["efficiency"], scratch)
            run = _run(results, net, method)
            if method not in UNTRAINED and (run / "checkpoint.pt").exists():
                subject |= _training(run)
            subjects.append(
                {
                    key: value
                    for key, value in subject.items()
                    if value is not None or key in ("utility", "verdict")
                }
            )
    projected = {net: found for net in plan.steps if (found := results.get(f"{net}-projection"))}
    runs = {net: _training(run) for net in projected if (run := _run(results, net, PROJECTION)).exists()}
    whole = {name: found for name in ("panel", "fringes", "pairwise") if (found := results.get(name))}
    if "pairwise" in whole:
        whole["pairwise"] |= {"untrained": results.get("pairwise-untrained")}
    parts = {"plan": asdict(plan), "subjects": subjects, "projection": projected, "projection_runs": runs}
    return parts | whole


def _training(run: Path) -> dict[str, Any]:
    trained = building.load(run)
    rows = [line.split(",") for line in (run / "log.csv").read_text().splitlines()[1:]]
    return {
        "steps": trained.step,
        "batch": trained.config.batch,
        "photos": trained.photos,
        "cpu_s": round(trained.cpu_s),
        "seed": trained.config.seed,
        "commit": trained.metadata["code"]["commit"],
        "loss": [[int(row[1]), float(row[3])] for row in rows],
    }


def _run(results: Results, net: str, method: str) -> Path:
    return results.folder / "runs" / f"{net}-{method}"


def _finished(run: Path, steps: int) -> bool:
    return (run / "checkpoint.pt").exists() and building.load(run).step == steps
