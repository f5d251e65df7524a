"""What must be shown of the service, and of training, each as a command. Run them alone on the machine.

    python -m tests.benchmarks serving      the service beside the bare pipeline and LitServe
    python -m tests.benchmarks overload     four times what it can do, for two minutes
    python -m tests.benchmarks chaos        kill -9 of worker, API and Valkey at random, for five minutes
    python -m tests.benchmarks many-jobs    10,000 small jobs while workers come and go
    python -m tests.benchmarks contrast     SimCLR's views, steps and loss beside lightly's
    python -m tests.benchmarks training     crops a second of training, beside those of another commit

Each writes its figures as JSON and Markdown, and ends with status 1 where what must hold did not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import figures
from tests.benchmarks.checks import Check, all_held


def main() -> int:
    arguments = _parse()
    out: Path = arguments.out
    match arguments.benchmark:
        case "serving":
            return _serving(arguments, out)
        case "overload":
            return _overload(arguments, out)
        case "chaos":
            return _chaos(arguments, out)
        case "contrast":
            return _contrast(arguments, out)
        case "training":
            return _training(arguments, out)
        case _:
            return _many_jobs(arguments, out)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    serving = benchmarks.add_parser("serving", help="the service beside the bare pipeline and LitServe")
    serving.add_argument(
        "--litserve", type=Path, required=True, help="python of an environment that has LitServe"
    )
    serving.add_argument("--rounds", type=int, help="default: 3")
    serving.add_argument(
        "--quick", action="store_true", help="see whether it works; the numbers mean nothing"
    )
    overload = benchmarks.add_parser("overload", help="four times what it can do")
    overload.add_argument("--seconds", type=float, default=120.0)
    overload.add_argument("--times", type=float, default=4.0, help="of what it can do (default: 4)")
    chaos = benchmarks.add_parser("chaos", help="kill -9 at random under load")
    chaos.add_argument("--seconds", type=float, default=300.0)
    chaos.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    chaos.add_argument("--fast", action="store_true", help="with a net that takes milliseconds")
    many = benchmarks.add_parser("many-jobs", help="small jobs while workers come and go")
    many.add_argument("--jobs", type=int, default=10_000)
    many.add_argument("--seed", type=int, default=0)
    contrast = benchmarks.add_parser("contrast", help="SimCLR's views, steps and loss beside lightly's")
    contrast.add_argument(
        "--lightly", type=Path, required=True, help="python of an environment that has lightly"
    )
    contrast.add_argument("--rounds", type=int, default=5)
    contrast.add_argument("--cores", type=int, default=1, help="for each side (default: 1)")
    contrast.add_argument(
        "--quick", action="store_true", help="see whether it works; the numbers mean nothing"
    )
    training = benchmarks.add_parser("training", help="crops a second, beside those of another commit")
    training.add_argument("--base", required=True, help="the other commit")
    training.add_argument("--photos", type=Path, required=True, help="a folder of color photographs")
    training.add_argument("--rounds", type=int, default=3)
    training.add_argument("--steps", type=int, default=100)
    training.add_argument("--threads", type=int, default=2)
    for each in (serving, overload, chaos, many, contrast, training):
        each.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="default: out/benchmarks")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


# Each benchmark imports only what it needs.


def _serving(arguments: argparse.Namespace, out: Path) -> int:
    from dataclasses import replace

    from tests.benchmarks import serving, serving_text

    extent = serving.QUICK if arguments.quick else serving.Extent()
    extent = replace(extent, rounds=arguments.rounds or extent.rounds)
    found = serving.run(extent, arguments.litserve, _say)
    figures.write(out, "serving", found, serving_text.text(found))
    print(serving_text.text(found))
    return 0  # a target that is missed is a finding, not a fault


def _overload(arguments: argparse.Namespace, out: Path) -> int:
    from tests.benchmarks import overload

    found, checks = overload.run(overload.Extent(arguments.seconds, arguments.times), _say)
    return _judge(out, "overload", found, checks, overload.text(found, checks))


def _chaos(arguments: argparse.Namespace, out: Path) -> int:
    from tests.benchmarks import chaos

    extent = chaos.Extent(arguments.seconds, arguments.seed, fast=arguments.fast)
    found, checks = chaos.run(extent, _say)
    return _judge(out, "chaos", found, checks, chaos.text(found, checks))


def _many_jobs(arguments: argparse.Namespace, out: Path) -> int:
    from tests.benchmarks import many_jobs

    found, checks = many_jobs.run(many_jobs.Extent(arguments.jobs, arguments.seed), _say)
    return _judge(out, "many-jobs", found, checks, many_jobs.text(found, checks))


def _contrast(arguments: argparse.Namespace, out: Path) -> int:
    from tests.benchmarks import contrast, contrast_text

    extent = contrast.QUICK if arguments.quick else contrast.Extent(arguments.rounds, arguments.cores)
    found = contrast.run(extent, arguments.lightly, _say)
    figures.write(out, "contrast", found, contrast_text.text(found))
    print(contrast_text.text(found))
    return 0  # a target that is missed is a finding, not a fault


def _training(arguments: argparse.Namespace, out: Path) -> int:
    from tests.benchmarks import training

    extent = training.Extent(arguments.rounds, arguments.steps, arguments.threads)
    found = training.run(extent, arguments.base, arguments.photos, out / "training", _say)
    figures.write(out, "training", found, training.text(found))
    print(training.text(found))
    return 0  # a target that is missed is a finding, not a fault


def _judge(out: Path, name: str, found: dict[str, Any], checks: Sequence[Check], text: str) -> int:
    figures.write(out, name, found, text)
    print(text)
    return 0 if all_held(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
