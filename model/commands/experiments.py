"""Remake the lecture and the papers' studies, write synthetic pictures as files, and what the page "How it works" shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from typer import Option, Typer

from model.commands.options import CACHE, Cache, Device, Net, Out, Probes, Voc
from model.errors import InputError

app = Typer()

Threads = Annotated[int, Option(metavar="N", help="of torch")]


@app.command(short_help="train and compare all methods, and write one page of it")
def lecture(
    photos: Annotated[
        Path,
        Option(metavar="DIR", help="with train and val, each with a folder a class, as Imagenette"),
    ],
    gallery: Annotated[
        Path | None,
        Option(metavar="DIR", help="classes in folders, such as Caltech-101: for transfer and pictures"),
    ] = None,
    voc: Voc = None,
    camvid: Annotated[Path | None, Option(metavar="DIR", help="CamVid, for transfer")] = None,
    nets: Annotated[list[str], Option(metavar="[NET]...", help="only these, of alexnet and resnet18")] = [],
    protocol: Probes = "small",
    labels: Annotated[
        list[int],
        Option(
            metavar="N...",
            help="for fine-tuning, in place of the plan's 20 90 300 900 3000, where there are fewer photos than the most",
        ),
    ] = [],
    plan: Annotated[Literal["hours", "minutes"], Option(help="minutes: only to see that it runs")] = "hours",
    threads: Threads = 1,
    cache: Cache = CACHE,
    out: Out = Path("out/lecture"),
) -> int:
    """Train, evaluate, and write the page; resume where it was stopped. InputError for too few photos, before any net is trained."""
    import torch

    from model.experiments import lecture as lectures
    from model.experiments.results import Results
    from model.training.commit import origin
    from model.training.session import learn

    torch.set_num_threads(threads)
    whole = replace(lectures.PLANS[plan](), protocol=protocol)
    if labels and min(labels) < 1:
        raise InputError(f"--labels are counts from 1 on, not {min(labels)}")
    if labels:
        whole = replace(whole, labels=tuple(sorted(set(labels))))
    results = Results(out)
    folders = lectures.Folders(photos, gallery, voc, camvid, cache)
    photographs = lectures.measure(whole, nets, folders, results, learn)
    print(f"the page: {lectures.publish(results, whole, photographs, origin('make lecture'))}")
    return 0


@app.command(
    short_help="draw synthetic pictures, with labels without end, into folders that all other commands read"
)
def synthetic(
    out: Out,
    switches: Annotated[
        str,
        Option(metavar="BITS", help="texture, color, viewpoint and lighting: 1 where it is random"),
    ] = "1111",
    count: Annotated[int, Option(metavar="N", help="a sixth is for judging")] = 6000,
    side: Annotated[int, Option(metavar="PIXELS")] = 64,
    seed: int = 0,
) -> int:
    """Draw pictures, and write them into folders a class, a pose and masks. InputError for switches that do not exist."""
    from model.experiments import synthetic as pictures

    options = pictures.Options(pictures.Switches.of(switches), side)
    pictures.write(out, options, count, seed)
    print(f"{count} pictures in {out}: class/, pose/ and mask/ hold the same, each with its own labels")
    return 0


@app.command(
    short_help="what a start without labels is worth in labels, by how synthetic pictures vary (Newell & Deng)"
)
def study(
    switches: Annotated[
        list[str],
        Option(
            metavar="BITS...",
            help="texture, color, viewpoint and lighting: 1 where it is random (default: the paper's twelve)",
        ),
    ] = [],
    method: Annotated[str, Option(help="simclr, colorize or supervised")] = "simclr",
    net: str = "alexnet",
    plan: Annotated[Literal["hour", "seconds"], Option(help="seconds: only to see that it runs")] = "hour",
    threads: Threads = 1,
    out: Out = Path("out/study"),
) -> int:
    """Draw, train, evaluate, and write study.json and study.md; resume where it was stopped."""
    import torch

    from model.experiments import study as studies
    from model.experiments.results import Results
    from model.training.commit import origin
    from model.training.session import learn

    torch.set_num_threads(threads)
    whole, results = studies.PLANS[plan], Results(out)
    rows = studies.measure(whole, switches, method, net, results, learn)
    print(studies.publish(results, whole, method, net, rows, origin("python -m model study")))
    return 0


@app.command(short_help='make the pictures and numbers of the page "How it works"')
def explain(
    out: Out = Path("service/web/static/how"),
    net: Net = "lite",
    lecture: Annotated[Path, Option(metavar="FILE", help="the numbers that `lecture` wrote")] = Path(
        "docs/lecture/lecture.json"
    ),
    device: Device = "auto",
) -> int:
    """Color one sample, and keep its distribution, the pictures of each step, failures and the lecture's numbers."""
    from model.colorizer import Colorizer
    from model.evaluate import explanation

    explanation.write(out, Colorizer.load(net, device), lecture)
    return 0
