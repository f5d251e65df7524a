"""The words of the commands that evaluate, and of those about backbones. No torch: --help does not wait for it."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

Add = Callable[..., ArgumentParser]
PROTOCOLS = ("small", "zhang2016", "goyal2019")
"""Of `model.evaluate.probes`, which imports torch."""


def add_colors(add: Add) -> None:
    """`evaluate color`, `decoding`, `cues`, `skin`, `blind` and `blind-count`."""
    one = add("color", help="how good the colors are, beside gray and the ground truth")
    _add_selection(one)
    one.add_argument(
        "--by-source",
        action="store_true",
        help="tables by source, its mean and all pooled, with differences between nets, instead: --photos take NAME=PATH, and "
        "NAME:train=PATH beside NAME:held=PATH, which tell how much better the photos that were trained on come out; --limit is a "
        "source's, and --held-out leaves :train what training kept",
    )
    one.add_argument("--net", nargs="+", default=["lite"], help="names or .safetensors files")
    one.add_argument("--temperature", type=float, help="other than the net's own")
    one.add_argument(
        "--aged",
        nargs="+",
        default=[],
        metavar="KIND",
        help="photos as age leaves them, too: blur, contrast, grain, fading, halftone, scratches, or all",
    )
    one.add_argument("--no-judge", action="store_true", help="leave out the classifier's top-1")
    one.add_argument(
        "--sheet", type=int, default=24, metavar="N", help="photos on the contact sheet (default: 24)"
    )
    one.add_argument("--device", default="auto")
    one.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("out/color"),
        metavar="DIR",
        help="for color.json, color.md, and the sheets color, best, worst and failures.jpg, or by_source.json and by_source.md "
        "(default: out/color)",
    )
    one.set_defaults(command="evaluate.color")

    one = add("decoding", help="what size, temperature and share taken back do to the colors")
    _add_selection(one)
    _add_net(one)
    one.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        default=[160, 192, 224, 256],
        metavar="PIXELS",
        help="shorter sides for the net, multiples of 32 (default: 160 192 224 256)",
    )
    one.add_argument(
        "--temperatures",
        nargs="+",
        type=float,
        default=[1, 0.8, 0.65, 0.5, 0.38, 0.25, 0.1, 0],
        metavar="T",
        help="of the annealed mean (default: 1 0.8 0.65 0.5 0.38 0.25 0.1 0)",
    )
    one.add_argument(
        "--take-back",
        nargs="+",
        type=float,
        metavar="SHARE",
        help="shares of the rebalancing (default: 0 0.2 0.3 0.4 0.5; only its own where a net's card has no prior)",
    )
    one.add_argument(
        "--strips", type=int, default=6, metavar="N", help="so many photos in the figure of strips"
    )
    _add_out(one, "decoding", "decoding.json, decoding.md, and the figures curves.png and strips.jpg")
    one.set_defaults(command="evaluate.decoding")

    one = add("cues", help="whether a net goes by brightness and texture, or by objects")
    _add_net(one)
    _add_out(one, "cues", "cues.json, cues.md and the figure cues.jpg")
    one.set_defaults(command="evaluate.cues")

    one = add("skin", help="how near the colors of faces are, by group of people")
    add_photos(one)
    groups = one.add_mutually_exclusive_group(required=True)
    groups.add_argument(
        "--groups", choices=["utkface"], help="groups by the file names, as in UTKFace: age_gender_race_date"
    )
    groups.add_argument(
        "--labels",
        type=Path,
        metavar="TSV",
        help="groups by lines of a file name, or folder/name, a tab and a group",
    )
    one.add_argument(
        "--limit", type=int, default=0, metavar="N", help="at most so many of each group, evenly chosen"
    )
    one.add_argument("--net", nargs="+", default=["lite"], help="names or .safetensors files")
    one.add_argument(
        "--sheet",
        type=int,
        default=4,
        metavar="N",
        help="photos of each group on the contact sheet (default: 4)",
    )
    one.add_argument("--device", default="auto")
    _add_out(one, "skin", "skin.json, skin.md and the sheet skin.jpg")
    one.set_defaults(command="evaluate.skin")

    one = add("blind", help="old photographs by two nets side by side, without saying which is which")
    add_photos(one)
    one.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many, evenly chosen")
    one.add_argument("--net", nargs=2, required=True, metavar=("OLD", "NEW"))
    one.add_argument("--seed", type=int, default=0, help="of the order of A and B (default: 0)")
    one.add_argument(
        "--height", type=int, default=360, metavar="PIXELS", help="of the pictures (default: 360)"
    )
    one.add_argument("--device", default="auto")
    _add_out(one, "blind", "a strip gray, A, B of each photo, answers.csv to fill in, and key.json")
    one.set_defaults(command="evaluate.blind")

    one = add("blind-count", help="what was answered to `evaluate blind`, by net")
    one.add_argument("folder", type=Path, metavar="DIR", help="of `evaluate blind`")
    one.add_argument(
        "answers",
        type=Path,
        nargs="?",
        metavar="CSV",
        help="lines of a photo's number and a, b, both or neither: which you would keep (default: answers.csv in DIR)",
    )
    one.set_defaults(command="evaluate.blind_count")


def add_photos(parser: argparse.ArgumentParser) -> None:
    """`--photos` and `--exclude`."""
    parser.add_argument(
        "--photos",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="folders, VOC lists of photos, or scikit-image: the photographs of that package",
    )
    parser.add_argument("--exclude", nargs="*", default=[], metavar="GLOB", help="file names to leave out")


def add_backbones(add: Add) -> None:
    """`evaluate probes`, `knn`, `retrieval`, `units`, `efficiency`, `transfer`, `detection` and `projection`."""
    one = _backbone(
        add, "probes", "backbones.probes", "what each layer knows: linear probes, all layers in one pass"
    )
    _judged(one)
    _protocol(one)
    one.add_argument("--epochs", type=int, metavar="N", help="of the probes (default: the protocol's, 28)")
    one.set_defaults(side=None)
    _seeds(one)

    one = _backbone(add, "knn", "backbones.knn", "classes by the 20 nearest photos")
    _judged(one)

    _backbone(
        add, "retrieval", "backbones.retrieval", "pictures of photos and the nearest others, copies left out"
    )
    _backbone(add, "units", "backbones.units", "pictures of what excites hidden units most")

    one = _backbone(
        add, "efficiency", "backbones.efficiency", "accuracy by the number of labels, and their utility"
    )
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

    one = _backbone(
        add,
        "transfer",
        "backbones.transfers",
        "fine-tuned to VOC2007, classes in folders, CamVid",
        photos=False,
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

    one = _backbone(
        add,
        "detection",
        "backbones.detection",
        "fine-tuned to detect VOC2007's objects; needs torchvision, VOC2007, and minutes for each run: `make detection`",
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
        help="only these of VOC's, and the photos that have them: an easier evaluation, not VOC's mAP",
    )

    one = _backbone(
        add,
        "projection",
        "backbones.projection",
        "what a run of simclr holds before and after its projection",
    )
    _judged(one)


def add_lecture(add: Add) -> None:
    """`lecture`."""
    one = add("lecture", help="train and compare all methods, and write one page of it")
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
    one.set_defaults(command="experiments.lecture")


def add_synthetic(add: Add) -> None:
    """`synthetic`."""
    one = add(
        "synthetic",
        help="draw synthetic pictures, with labels without end, into folders that all other commands read",
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
    one.set_defaults(command="experiments.synthetic")


def add_study(add: Add) -> None:
    """`study`."""
    one = add(
        "study",
        help="what a start without labels is worth in labels, by how synthetic pictures vary (Newell & Deng)",
    )
    one.add_argument(
        "--switches",
        nargs="+",
        default=[],
        metavar="BITS",
        help="texture, color, viewpoint and lighting: 1 where it is random (default: the paper's twelve)",
    )
    one.add_argument("--method", default="simclr", help="simclr, colorize or supervised (default: simclr)")
    one.add_argument("--net", default="alexnet", help="(default: alexnet)")
    _plan(one, "hour", "seconds")
    _out(one, "study")
    one.set_defaults(command="experiments.study")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    add_photos(parser)
    parser.add_argument("--only", metavar="GLOB", help="file names to keep")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="only what `train --hold-out N` leaves out"
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many, evenly chosen")


def _add_net(parser: argparse.ArgumentParser) -> None:
    """One net: of a weights file, or of a training run, which is not exported yet."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--net", default="lite", help="a net's name, or a .safetensors file (default: lite)")
    which.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="RUN",
        help="a training run's folder: its averaged weights, decoded as the shipped ones are",
    )
    parser.add_argument("--device", default="auto")


def _add_out(parser: argparse.ArgumentParser, name: str, written: str) -> None:
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("out") / name,
        metavar="DIR",
        help=f"for {written} (default: out/{name})",
    )


def _backbone(add: Add, name: str, command: str, meaning: str, photos: bool = True) -> ArgumentParser:
    one = add(name, help=meaning)
    one.add_argument(
        "--runs",
        nargs="+",
        type=Path,
        required=True,
        metavar="RUN",
        help="folders of `train --net alexnet` and the like; an untrained net stands beside them",
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
