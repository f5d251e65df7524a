"""The lecture: every method on every net, taught from the same photos in like time, and asked the same questions; one page of it.

What the photos are too few for, or what is missing, is said before the first net is trained (commands/needs.py). What the projection
forgets is asked of a SimCLR run of its own, whose views have what the table asks about.

All that is worked out goes into a file of its own, runs into folders of their own: whatever stops the command, the same command goes on
there. Two of them, for different nets, may go on beside each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model import aberration
from model.commands import backbones, needs
from model.commands.commit import origin
from model.commands.desk import Desk
from model.commands.train import learn
from model.errors import InputError
from model.evaluate import fringes, page, pairwise, panel, probes, readings, transfer
from model.evaluate.overview import overview
from model.evaluate.probes import Protocol
from model.evaluate.readings import Material
from model.methods import context, simclr
from model.nets.backbone import Backbone
from model.training import building, data
from model.training import config as configs
from model.training.cache import Cache
from model.training.config import Config

PROJECTION = "projection"  # the run that the projection's table asks
CLEAN = "ILSVRC2012_val_*"  # photos of Imagenette that no classifier was taught by: not ours either


@dataclass(frozen=True)
class Plan:
    """How much of everything. Steps are such that on one core each method of a net takes about as long as the others."""

    steps: Mapping[str, Mapping[str, int]]
    side: int = 96  # of the photos that backbones are asked about, in pixels
    known: int = 4000  # photos that probes are taught by, at most
    judged: int = 1500  # and judged by
    protocol: str = "small"  # of `probes.PROTOCOLS`; the papers' have photos and epochs of their own
    epochs: int = 12  # of small's probes
    probe_seeds: int = 3
    labels: tuple[int, ...] = (20, 90, 300, 900, 3000)  # 90 and 900 are 1% and 10% of Imagenette
    seeds: int = 3
    tuning: transfer.Options = field(default_factory=lambda: transfer.Options(steps=200))
    tuned: int = 1000  # photos that fine-tuned nets are judged by
    transferred: int = 100  # steps
    paired: int = 2000  # photos of the augmentations' matrix
    fringed: int = 600  # photos
    pairs: pairwise.Options = field(default_factory=pairwise.Options)
    projected: Mapping[str, int] = field(default_factory=dict)  # steps, by net, for the projection's table
    batch: int | None = None  # photos of a training step, at most
    each: int = 20  # photos of each class to learn from, at least: as many as vote in kNN

    def recipe(self, method: str, net: str) -> Config:
        """What a method is trained by."""
        small = configs.small(method, net)
        return replace(
            small, steps=self.steps[net][method], batch=min(small.batch, self.batch or small.batch)
        )

    def projection(self, net: str) -> Config:
        """What SimCLR is trained by for the projection's table."""
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
    """To see that it runs: says nothing about anything."""
    steps = dict.fromkeys(("context", "colorize", "simclr", "supervised"), 2)
    tuning = transfer.Options(steps=2, batch=4, side=64)
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
        pairs=pairwise.Options(steps=2, batch=4, side=32),
        projected={"alexnet": 2},
        batch=8,
        each=1,
    )


PLANS = {"hours": hours, "minutes": minutes}


def lecture(arguments: argparse.Namespace) -> int:
    """Teach, ask, and write the page; go on where it was stopped. ValueError for photos that are too few, before any net is trained."""
    torch.set_num_threads(arguments.threads)
    plan, desk = _plan(arguments), Desk(arguments.out)
    needs.refuse(needs.folders(arguments.photos, arguments.nets, plan.steps))
    wanted = [net for net in plan.steps if net in arguments.nets] if arguments.nets else list(plan.steps)
    photos = data.find([arguments.photos / "train"], [CLEAN])
    judged = data.find([arguments.photos / "val"], [CLEAN])
    squares = partial(needs.squares, folder=arguments.cache)
    seen = readings.material(squares(photos, plan.side), squares(judged, plan.side))
    protocol = plan.probing()
    probed = readings.material(squares(photos, protocol.photo), squares(judged, protocol.photo))
    recipes = [plan.recipe(method, net) for net in wanted for method in plan.steps[net]]
    shown = min(len(squares(photos, side).photos) for side in {recipe.shape.side for recipe in recipes})
    needs.refuse(needs.sizes(seen, plan.labels, shown, max(recipe.batch for recipe in recipes), plan.each))
    classes = list(filter(None, [arguments.gallery]))
    given = backbones.others(arguments.cache, arguments.voc, classes, arguments.camvid)
    gallery = squares(data.find(classes), plan.side) if classes else None
    sets = {name: getattr(arguments, name) for name in ("photos", "gallery", "voc", "camvid")}
    desk.begin({"plan": asdict(plan)} | {name: path.name if path else None for name, path in sets.items()})
    subjects = Subjects(seen, probed, given, gallery)

    def train(recipe: Config, run: Path) -> None:
        if not _finished(run, recipe.steps):
            learn(recipe, [squares(photos, recipe.shape.side)], run, torch.device("cpu"))

    for net in wanted:
        for method in plan.steps[net]:
            train(plan.recipe(method, net), _run(desk, net, method))
        for method in ("random", *plan.steps[net]):
            _ask(desk, plan, net, method, subjects)
        if net in plan.projected:
            train(plan.projection(net), _run(desk, net, PROJECTION))
            few = seen.some(plan.known // 2, plan.judged // 2)
            desk.once(f"{net}-forgotten", partial(_forgotten, desk, net, few))
    desk.once("panel", partial(_panel, desk))
    desk.once("fringes", partial(_fringes, desk, plan, squares(photos, 160)))
    desk.once("pairwise", partial(_pairwise, desk, plan, seen))
    desk.once("pairwise-untrained", partial(_unpaired, plan, seen))
    described = {
        "name": arguments.photos.name.capitalize(),
        "photos": len(seen.taught.labels),
        "judged": len(seen.judged.labels),
        "classes": list(seen.names),
        "side": plan.side,
    }
    facts = {"made": origin("make lecture"), "data": described} | _gathered(desk, plan)
    desk.write(desk.folder / "lecture.json", facts)
    (desk.folder / "overview.md").write_text(overview(facts["subjects"]))
    print(f"the page: {page.write(facts, desk.folder)}")
    return 0


@dataclass(frozen=True, eq=False)
class Subjects:
    """The photos that backbones are asked about."""

    seen: Material
    probed: Material  # those of the probes, as large as their protocol has them
    others: backbones.Others
    gallery: Cache | None


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = replace(PLANS[arguments.plan](), protocol=arguments.protocol)
    if not arguments.labels:
        return plan
    if min(arguments.labels) < 1:
        raise InputError(f"--labels are counts from 1 on, not {min(arguments.labels)}")
    return replace(plan, labels=tuple(sorted(set(arguments.labels))))


def _ask(desk: Desk, plan: Plan, net: str, method: str, of: Subjects) -> None:
    """All questions to one backbone."""
    name = f"{net}-{method}"
    backbone = (
        backbones.untaught(net) if method == "random" else building.load(_run(desk, net, method)).backbone
    )

    def maker(seed: int) -> Backbone:
        return backbones.untaught(net, seed) if method == "random" else backbone

    fewer = of.seen.some(len(of.seen.taught.labels), plan.tuned)
    desk.once(f"{name}-knn", lambda: readings.of_neighbors(backbone, of.seen))
    desk.once(f"{name}-probes", lambda: _probes(backbone, plan, of.probed))
    part = f"{name}-efficiency"
    desk.once(
        part,
        lambda: readings.of_labels(
            maker,
            fewer,
            plan.labels,
            range(plan.seeds),
            plan.tuning,
            desk.some(part),
            partial(desk.keep, part),
        ),
    )
    desk.once(f"{name}-transfer", lambda: backbones.carried_over(backbone, of.others, plan.transferred))
    if gallery := of.gallery:
        pictures = desk.folder / "pictures"
        desk.once(f"{name}-pictures", lambda: _pictures(backbone, gallery, pictures, name))


def _probes(backbone: Backbone, plan: Plan, probed: Material) -> dict[str, Any]:
    # Of a paper's protocol they are a gigabyte: in memory only for as long as they are looked at.
    few = probed.some(plan.known, plan.judged)
    return readings.of_layers(backbone, few, range(plan.probe_seeds), plan.probing())


def _pictures(backbone: Backbone, gallery: Cache, folder: Path, name: str) -> dict[str, str]:
    backbones.picture_of_neighbors(backbone, gallery, folder / f"{name}-neighbors.jpg")
    backbones.picture_of_units(backbone, gallery, folder / f"{name}-units.jpg")
    return {
        "neighbors": f"pictures/{name}-neighbors.jpg",
        "activations": f"pictures/{name}-units.jpg",
    }


def _forgotten(desk: Desk, net: str, seen: Material) -> dict[str, dict[str, Any]]:
    return backbones.remembered(building.load(_run(desk, net, PROJECTION)), seen)


def _panel(desk: Desk) -> str:
    picture = desk.folder / "pictures" / "panel.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    panel.panel(data.read(_cat())).save(picture, quality=80)
    return "pictures/panel.jpg"


def _fringes(desk: Desk, plan: Plan, squares: Cache) -> dict[str, Any]:
    picture = desk.folder / "pictures" / "fringes.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    fringes.figure(data.read(_cat())).save(picture, quality=85)
    few = torch.from_numpy(squares.squares[: plan.fringed].copy())
    told = aberration.shortcut(few, context.small())
    rows = [
        {"lens": lens, "colors": colors, "question": question} | asdict(found)
        for (lens, colors, question), found in told.items()
    ]
    return {"picture": "pictures/fringes.jpg", "photos": len(few), "rows": rows}


def _cat() -> Path:
    """Chelsea, of scikit-image: S. van der Walt, CC0."""
    return next(path for path in data.find([Path("scikit-image")]) if path.stem == "chelsea")


def _pairwise(desk: Desk, plan: Plan, seen: Material) -> dict[str, Any]:
    few = seen.some(plan.paired, plan.paired // 2)
    options = plan.pairs
    known = desk.some("pairwise")
    accuracy = pairwise.matrix(
        lambda: backbones.untaught("alexnet"),
        few.taught,
        few.judged,
        options,
        known,
        partial(desk.keep, "pairwise"),
    )
    caption = (
        f"AlexNet, {options.steps} steps of {options.batch} photos at {options.side} pixels a cell, from one seed; kNN of 20 among "
        f"{len(few.taught.labels)} photos, {len(few.judged.labels)} judged. Far from the paper's 100 epochs of ImageNet."
    )
    return {"steps": list(pairwise.STEPS), "accuracy": accuracy, "caption": caption}


def _unpaired(plan: Plan, seen: Material) -> float:
    few = seen.some(plan.paired, plan.paired // 2)
    return pairwise.untrained(lambda: backbones.untaught("alexnet"), few.taught, few.judged)


def _gathered(desk: Desk, plan: Plan) -> dict[str, Any]:
    """Of all that lies on the desk, also what another command beside this one has worked out."""
    subjects: list[dict[str, Any]] = []
    for net in plan.steps:
        scratch = desk.result(f"{net}-random-efficiency")
        for method in ("random", *plan.steps[net]):
            name = f"{net}-{method}"
            subject: dict[str, Any] = {
                "net": net,
                "method": method,
                "layers": list(backbones.untaught(net).layers),
                "probes": desk.result(f"{name}-probes"),
                "neighbors": desk.result(f"{name}-knn"),
                "efficiency": desk.result(f"{name}-efficiency"),
                "transfer": desk.result(f"{name}-transfer"),
                "pictures": desk.result(f"{name}-pictures"),
                "utility": None,
                "verdict": None,
            }
            if method != "random" and subject["efficiency"] and scratch:
                subject["utility"], subject["verdict"] = readings.worth(subject["efficiency"], scratch)
            if method != "random" and (_run(desk, net, method) / "checkpoint.pt").exists():
                subject |= _training(building.load(_run(desk, net, method)), _run(desk, net, method))
            subjects.append(
                {
                    key: value
                    for key, value in subject.items()
                    if value is not None or key in ("utility", "verdict")
                }
            )
    forgotten = {net: found for net in plan.steps if (found := desk.result(f"{net}-forgotten"))}
    runs = {
        net: _training(building.load(run), run)
        for net in forgotten
        if (run := _run(desk, net, PROJECTION)).exists()
    }
    whole = {name: found for name in ("panel", "fringes", "pairwise") if (found := desk.result(name))}
    if "pairwise" in whole:
        whole["pairwise"] |= {"untrained": desk.result("pairwise-untrained")}
    facts = {"plan": asdict(plan), "subjects": subjects, "forgotten": forgotten, "forgotten_runs": runs}
    return facts | whole


def _training(run: building.Trained, folder: Path) -> dict[str, Any]:
    rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()[1:]]
    return {
        "steps": run.step,
        "batch": run.config.batch,
        "photos": run.photos,
        "cpu_s": round(run.cpu_s),
        "seed": run.config.seed,
        "commit": run.metadata["code"]["commit"],
        "loss": [[int(row[1]), float(row[3])] for row in rows],
    }


def _run(desk: Desk, net: str, method: str) -> Path:
    return desk.folder / "runs" / f"{net}-{method}"


def _finished(run: Path, steps: int) -> bool:
    return (run / "checkpoint.pt").exists() and building.load(run).step == steps
