"""Color photographs; train and measure the network that does; look after its weights.

python -m model colorize PHOTO_OR_DIR... -o OUT
python -m model train colorize --photos DIR... --run runs/first
python -m model evaluate color --photos DIR... -o out/evaluation
python -m model train simclr --net resnet18 --photos DIR... --run runs/simclr
python -m model evaluate probes --runs RUN... --photos DIR --judged DIR
python -m model lecture --photos DIR
python -m model weights show lite
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model.errors import AutochromeError
from model.parsers import add_backbones, add_colors, add_lecture, add_photos, add_study, add_synthetic


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 when something could not be done, 2 for a wrong command line."""
    arguments = _parser().parse_args(words)
    # Large tensors in huge pages: asking the kernel for memory anew, 4 KiB at a time, is a sixth of a training step on a CPU.
    # PyTorch reads it when it makes its first tensor.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        module, _, verb = arguments.command.partition(".")
        command = getattr(importlib.import_module(f"model.commands.{module}"), verb or module)
        return int(command(arguments))
    except ModuleNotFoundError as missing:
        print(f"python -m model: {missing.name} is not installed; `make setup` has it all", file=sys.stderr)
        return 1
    except (AutochromeError, OSError) as error:  # any other is an error of ours, and shows where
        print(f"python -m model: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model", description="Color photographs; train and measure the network that does."
    )
    commands = parser.add_subparsers(
        required=True, metavar="colorize | train | evaluate | lecture | synthetic | gallery | weights"
    )

    one = commands.add_parser("colorize", help="color photographs")
    one.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_DIR")
    one.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the results")
    one.add_argument("--net", default="lite", help="a net's name, or a .safetensors file (default: lite)")
    one.add_argument(
        "--temperature",
        type=float,
        help="0, the likeliest color, to 1, the mean of all; default: the net's own",
    )
    one.add_argument("--vividness", type=float, default=1.0, help="factor on the chroma, 0 to 2 (default: 1)")
    one.add_argument("--overwrite", action="store_true", help="color anew what OUT holds already")
    one.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1…")
    one.set_defaults(command="colorize")

    one = commands.add_parser("train", help="learn from folders of color photographs")
    one.add_argument("method", choices=["colorize", "regress", "context", "simclr", "supervised", "adapt"])
    add_photos(one)
    one.add_argument(
        "--net",
        metavar="NAME",
        help="lite, the product's, or eccv16, the paper's; or a backbone: alexnet, resnet18, resnet50, or alexnet-small and "
        "resnet18-small, which see small photos finer (default: lite to colorize, else alexnet)",
    )
    one.add_argument(
        "--hold-out",
        type=int,
        default=1,
        metavar="N",
        help="hold out N tenths of all, by a hash of the name, for validation (default: 1)",
    )
    one.add_argument(
        "--apart-from",
        nargs="*",
        type=Path,
        default=[],
        metavar="DIR",
        help="leave out copies of these photos too",
    )
    one.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="DIR",
        help="the run's folder, continued where it has a checkpoint (default: runs/ and the method's name)",
    )
    one.add_argument(
        "--recipe",
        metavar="NAME",
        help="for the product's net lite, the default, from-imagenet or finetune, for few photographs of your own; for a backbone small, "
        "the default; a paper's: doersch2015, zhang2016, chen2020; tiny, to see that it runs",
    )
    one.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="other values than the recipe's, such as lr=5e-4 sides=128,160 start=runs/first",
    )
    one.add_argument("--steps", type=int, help="other than the recipe's")
    one.add_argument("--seconds", type=float, help="as many steps as fit into this time on this machine")
    one.add_argument("--extend", action="store_true", help="go on with a finished run, up to --steps")
    one.add_argument("--seed", type=int, help="other than the recipe's")
    one.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that decode photos into the cache (default: one a core)",
    )
    one.add_argument(
        "--save-every",
        type=float,
        default=180,
        metavar="S",
        help="seconds between checkpoints (default: 180)",
    )
    one.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/cache"),
        metavar="DIR",
        help="for the photos, decoded once (default: runs/cache)",
    )
    one.add_argument("--device", default="auto")
    one.set_defaults(command="train")

    evaluate = commands.add_parser(
        "evaluate", help="measure a net on photographs it has not seen"
    ).add_subparsers(
        required=True,
        metavar="color | decoding | cues | skin | blind | blind-count, of what colors; probes | knn | retrieval | units | "
        "efficiency | transfer | detection | projection, of backbones",
    )

    add_colors(evaluate.add_parser)
    add_backbones(evaluate.add_parser)
    add_lecture(commands.add_parser)
    add_synthetic(commands.add_parser)
    add_study(commands.add_parser)

    one = commands.add_parser("gallery", help="photographs side by side: gray, colored, true")
    one.add_argument(
        "--photos",
        nargs="+",
        type=Path,
        default=[Path("scikit-image")],
        metavar="DIR",
        help="default: scikit-image, the photographs of that package",
    )
    one.add_argument("--net", default="lite")
    one.add_argument("--device", default="auto")
    one.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    one.set_defaults(command="evaluate.gallery")

    training = commands.add_parser(
        "training", help="pause a run in the background, and let it go on"
    ).add_subparsers(required=True, metavar="pause | resume")
    for verb, meaning in (
        ("pause", "stop where it stands, and keep it in memory"),
        ("resume", "let it go on"),
    ):
        one = training.add_parser(verb, help=meaning)
        one.add_argument("run_folder", nargs="?", type=Path, default=Path("runs/colorize"), metavar="RUN")
        one.set_defaults(command=f"train.{verb}")

    weights = commands.add_parser("weights", help="show, fetch or export weights").add_subparsers(
        required=True, metavar="show | fetch | export"
    )
    one = weights.add_parser("show", help="print a net's card")
    one.add_argument("net")
    one.set_defaults(command="weights.show")
    one = weights.add_parser("fetch", help="download published weights")
    one.add_argument("net")
    one.add_argument(
        "--mirror",
        nargs="*",
        default=[],
        metavar="URL",
        help="asked before the published places; file:// too",
    )
    one.set_defaults(command="weights.fetch")
    one = weights.add_parser("export", help="the averaged weights of a training run, with a card")
    one.add_argument("run_folder", type=Path, metavar="RUN")
    one.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="…/name.safetensors")
    chosen = "(default: what the run's validation chose; if it chose nothing, as the shipped weights)"
    one.add_argument("--temperature", type=float, help=f"of the annealed mean {chosen}")
    one.add_argument(
        "--size", type=int, help=f"the shorter side that the net sees, a multiple of 32 {chosen}"
    )
    one.add_argument(
        "--take-back",
        type=float,
        metavar="SHARE",
        help=f"share of the rebalancing to take back: 0, as it was trained, to 1, as calm as the photographs {chosen}",
    )
    one.add_argument("--terms", required=True, help="the weights' license, and their photographs' terms")
    one.add_argument("--data", required=True, help="what they were trained on")
    one.add_argument(
        "--numbers",
        nargs="*",
        default=[],
        metavar="NAME=JSON",
        help="color.json files of `evaluate color`, by photos",
    )
    one.set_defaults(command="weights.export")
    return parser


if __name__ == "__main__":
    sys.exit(main())
