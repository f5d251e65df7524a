"""The words of the commands that ask trunks what they know. No torch: --help does not wait for it."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

Add = Callable[..., ArgumentParser]
PROTOCOLS = ("small", "zhang2016", "goyal2019")
"""Of `model.evaluate.probes`, which imports torch."""


def add_questions(add: Add) -> None:
    """`evaluate probes`, `knn`, `retrieval`, `units`, `efficiency`, `transfer`, `detection` and `forgotten`."""
    one = _asks(
        add, "probes", "trunks.probes", "what each layer knows: linear probes, all layers in one pass"
    )
    _judged(one)
    _protocol(one)
    one.add_argument("--epochs", type=int, metavar="N", help="of the probes (default: the protocol's, 28)")
    one.set_defaults(side=None)
    _seeds(one)

    one = _asks(add, "knn", "trunks.knn", "classes by the 20 nearest photos")
    _judged(one)

    _asks(add, "retrieval", "trunks.retrieval", "pictures of photos and the nearest others, copies left out")
    _asks(add, "units", "trunks.units", "pictures of what excites hidden units most")

    one = _asks(add, "efficiency", "trunks.efficiency", "accuracy by the number of labels, and their utility")
    _judged(one)
    one.add_argument(
        "--labels",
        nargs="+",
        type=int,
        default=[20, 90, 300, 900, 3000],
        metavar="N",
        help="how many are given (default: 20 90 300 900 3000)",
    )
    one.add_argument("--steps", type=int, default=200, metavar="N", help="of fine-tuning (default: 200)")
    _seeds(one)

    one = _asks(
        add, "transfer", "trunks.transfers", "fine-tuned to VOC2007, classes in folders, CamVid", photos=False
    )
    one.add_argument(
        "--photos",
        nargs="*",
        type=Path,
        default=[],
        metavar="DIR",
        help="classes in folders; a third is judged",
    )
    one.add_argument("--voc", type=Path, metavar="DIR", help="VOC2007 in its layout")
    one.add_argument(
        "--camvid", type=Path, metavar="DIR", help="CamVid, with train, trainannot, test and testannot"
    )
    one.add_argument("--steps", type=int, default=100, metavar="N", help="of fine-tuning (default: 100)")

    one = _asks(
        add,
        "detection",
        "trunks.detection",
        "taught to find VOC2007's things; needs torchvision, VOC2007, and minutes for each run: `make detection`",
        photos=False,
    )
    one.add_argument("--voc", type=Path, required=True, metavar="DIR", help="VOC2007 in its layout")
    one.add_argument("--steps", type=int, default=200, metavar="N", help="of 4 photos (default: 200)")
    one.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many photos to judge by")
    one.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these of VOC's, and the photos that have them: a smaller question, not VOC's mAP",
    )

    one = _asks(
        add, "forgotten", "trunks.forgets", "what a run of contrast knows before and after its projection"
    )
    _judged(one)


def add_lecture(add: Add) -> None:
    """`lecture`."""
    one = add("lecture", help="teach and compare all methods, and write one page of it")
    one.add_argument(
        "--photos",
        type=Path,
        required=True,
        metavar="DIR",
        help="with train and val, each with a folder a class, as Imagenette",
    )
    one.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="classes in folders, such as Caltech-101: for transfer and pictures",
    )
    one.add_argument("--voc", type=Path, metavar="DIR", help="VOC2007 in its layout, for transfer")
    one.add_argument("--camvid", type=Path, metavar="DIR", help="CamVid, for transfer")
    one.add_argument(
        "--nets", nargs="*", default=[], metavar="NET", help="only these, of alexnet and resnet18"
    )
    _protocol(one)
    one.add_argument(
        "--labels",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="for fine-tuning, in place of the plan's 20 90 300 900 3000, where there are fewer photos than the most",
    )
    _plan(one, "hours", "minutes")
    _cache(one)
    _out(one, "lecture")
    one.set_defaults(command="lecture")


def add_synthetic(add: Add) -> None:
    """`synthetic`."""
    one = add(
        "synthetic",
        help="draw made pictures, with labels without end, into folders that all other commands read",
    )
    one.add_argument(
        "--switches",
        default="1111",
        metavar="BITS",
        help="texture, color, viewpoint and lighting: 1 where it is random (default: 1111)",
    )
    one.add_argument(
        "--count", type=int, default=6000, metavar="N", help="a sixth is for judging (default: 6000)"
    )
    one.add_argument("--side", type=int, default=64, metavar="PIXELS", help="(default: 64)")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    one.set_defaults(command="synthetic")


def add_study(add: Add) -> None:
    """`study`."""
    one = add(
        "study",
        help="what a start without labels is worth in labels, by how made pictures vary (Newell & Deng)",
    )
    one.add_argument(
        "--switches",
        nargs="+",
        default=[],
        metavar="BITS",
        help="texture, color, viewpoint and lighting: 1 where it is random (default: the paper's twelve)",
    )
    one.add_argument(
        "--method", default="contrast", help="contrast, colorize or supervised (default: contrast)"
    )
    one.add_argument("--net", default="alexnet", help="(default: alexnet)")
    _plan(one, "hour", "seconds")
    _out(one, "study")
    one.set_defaults(command="study")


def _asks(add: Add, name: str, command: str, meaning: str, photos: bool = True) -> ArgumentParser:
    one = add(name, help=meaning)
    one.add_argument(
        "--runs",
        nargs="+",
        type=Path,
        required=True,
        metavar="RUN",
        help="folders of `train --net alexnet` and the like; a net that knows nothing stands beside them",
    )
    if photos:
        one.add_argument(
            "--photos", nargs="+", type=Path, required=True, metavar="DIR", help="with a folder a class"
        )
    one.add_argument("--exclude", nargs="*", default=[], metavar="GLOB", help="file names to leave out")
    one.add_argument(
        "--side",
        type=int,
        default=128,
        metavar="PIXELS",
        help="of the photos' squares (default: 128; of probes the protocol's)",
    )
    _cache(one)
    one.add_argument("--device", default="auto")
    _out(one, name)
    one.set_defaults(command=command)
    return one


def _judged(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--judged",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="photos to judge by, with the same folders",
    )


def _protocol(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=PROTOCOLS[0],
        help="of the probes: zhang2016 and goyal2019 are the papers', with crops of 227 and 224 out of photos of 256 pixels, "
        "for which the net runs anew in each epoch; small is for photos of 128, shown whole (default: small)",
    )


def _seeds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="(default: 3)")


def _cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/cache"),
        metavar="DIR",
        help="for photos as squares (default: runs/cache)",
    )


def _plan(parser: argparse.ArgumentParser, whole: str, tried: str) -> None:
    parser.add_argument(
        "--plan", choices=[whole, tried], default=whole, help=f"{tried}: only to see that it runs"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (default: 1)")


def _out(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("out") / name, metavar="DIR", help=f"(default: out/{name})"
    )
