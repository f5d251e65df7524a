"""The benchmarks of photographs, the service and training, each as a command. Run them alone on the machine.

    python -m tests.benchmarks photo        one photograph, and a folder, beside a plain twin
    python -m tests.benchmarks opinions     a changed hint, other pictures and how sure the net is, through the API
    python -m tests.benchmarks serving      the service beside the bare pipeline and LitServe
    python -m tests.benchmarks overload     four times what it can do, for two minutes
    python -m tests.benchmarks fill         a small disk and a small Redis filled at four times what it can do, two minutes each
    python -m tests.benchmarks connections  half requests, endless headers and slow clients, at 1,024 files
    python -m tests.benchmarks chaos        kill -9 of worker, API and Valkey at random, for five minutes
    python -m tests.benchmarks many-jobs    10,000 small jobs while workers come and go
    python -m tests.benchmarks sizing       what a photo costs, and what so many a day need
    python -m tests.benchmarks memory       what photos of each kind take in a worker
    python -m tests.benchmarks simclr       SimCLR's views, steps and loss beside lightly's
    python -m tests.benchmarks engines      the net on a CPU by several runtimes, and how far their colors differ
    python -m tests.benchmarks training     crops a second of training, beside those of another commit

Each writes its numbers as JSON and Markdown. Exit status 1: a check failed. A target of speed that is missed fails nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.report import Report


def main() -> int:
    arguments = _parse()
    report = _run(arguments)
    report.write(arguments.out)
    print(report.text)
    return 0 if report.passed else 1


def _run(arguments: argparse.Namespace) -> Report:
    """Each benchmark imports only what it needs."""
    match arguments.benchmark:
        case "photo":
            from tests.benchmarks import photo

            photo_config = (
                photo.QUICK if arguments.quick else photo.Config(arguments.rounds, arguments.photos)
            )
            return photo.run(photo_config, arguments.out / "photo", _log)
        case "opinions":
            from tests.benchmarks import opinions

            opinions_config = opinions.QUICK if arguments.quick else opinions.Config(arguments.rounds)
            return opinions.run(opinions_config, _log)
        case "serving":
            from tests.benchmarks import serving

            serving_config = serving.QUICK if arguments.quick else serving.Config()
            rounds = arguments.rounds or serving_config.rounds
            return serving.run(replace(serving_config, rounds=rounds), arguments.litserve, _log)
        case "overload":
            from tests.benchmarks import overload

            return overload.run(overload.Config(arguments.seconds, arguments.times), _log)
        case "fill":
            from tests.benchmarks import fill

            return fill.run(fill.FAST if arguments.fast else fill.Config.of(arguments.seconds), _log)
        case "connections":
            from tests.benchmarks import connections

            return connections.run(connections.Config(arguments.seconds, arguments.halves), _log)
        case "chaos":
            from tests.benchmarks import chaos

            return chaos.chaos(chaos.Config(arguments.seconds, arguments.seed, fast=arguments.fast), _log)
        case "many-jobs":
            from tests.benchmarks import chaos

            return chaos.many_jobs(chaos.ManyJobsConfig(arguments.jobs, arguments.seed), _log)
        case "memory":
            from tests.benchmarks import memory

            return memory.run(memory.Config(arguments.megapixels), _log)
        case "simclr":
            from tests.benchmarks import simclr

            simclr_config = (
                simclr.QUICK if arguments.quick else simclr.Config(arguments.rounds, arguments.cores)
            )
            return simclr.run(simclr_config, arguments.lightly, _log)
        case "engines":
            from tests.benchmarks import engines

            return engines.run(engines.Config(arguments.rounds, arguments.threads, arguments.busy), _log)
        case "sizing":
            from tests.benchmarks import sizing

            return sizing.run(sizing.QUICK if arguments.quick else sizing.Config(), _log)
        case _:
            from tests.benchmarks import training

            training_config = training.Config(arguments.rounds, arguments.steps, arguments.threads)
            scratch = arguments.out / "training"
            return training.run(training_config, arguments.base, arguments.photos, scratch, _log)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    quick = "see whether it works; the numbers mean nothing"

    photo = benchmarks.add_parser("photo", help="one photograph, and a folder, beside a plain twin")
    photo.add_argument("--rounds", type=int, default=5)
    photo.add_argument("--photos", type=int, default=200, help="in the folder (default: 200)")
    photo.add_argument("--quick", action="store_true", help=quick)

    opinions = benchmarks.add_parser("opinions", help="a changed hint, other pictures, how sure the net is")
    opinions.add_argument("--rounds", type=int, default=20)
    opinions.add_argument("--quick", action="store_true", help=quick)

    serving = benchmarks.add_parser("serving", help="the service beside the bare pipeline and LitServe")
    serving.add_argument(
        "--litserve", type=Path, required=True, help="python of an environment that has LitServe"
    )
    serving.add_argument("--rounds", type=int, help="default: 3")
    serving.add_argument("--quick", action="store_true", help=quick)

    overload = benchmarks.add_parser("overload", help="four times what it can do")
    overload.add_argument("--seconds", type=float, default=120.0)
    overload.add_argument("--times", type=float, default=4.0, help="of what it can do (default: 4)")

    fill = benchmarks.add_parser("fill", help="a small disk and a small Redis, filled")
    fill.add_argument("--seconds", type=float, default=120.0, help="for each of the two (default: 120)")
    fill.add_argument("--fast", action="store_true", help="a few seconds of it")

    connections = benchmarks.add_parser("connections", help="half requests, endless headers and slow clients")
    connections.add_argument("--seconds", type=float, default=60.0)
    connections.add_argument("--halves", type=int, default=1010, help="half requests (default: 1010)")

    chaos = benchmarks.add_parser("chaos", help="kill -9 at random under load")
    chaos.add_argument("--seconds", type=float, default=300.0)
    chaos.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    chaos.add_argument("--fast", action="store_true", help="with a net that takes milliseconds")

    many_jobs = benchmarks.add_parser("many-jobs", help="small jobs while workers come and go")
    many_jobs.add_argument("--jobs", type=int, default=10_000)
    many_jobs.add_argument("--seed", type=int, default=0)

    sizing = benchmarks.add_parser("sizing", help="what a photo costs, and so many a day")
    sizing.add_argument("--quick", action="store_true", help=quick)
    memory = benchmarks.add_parser("memory", help="what photos of each kind take in a worker")
    memory.add_argument("--megapixels", type=float, default=24.0)

    simclr = benchmarks.add_parser("simclr", help="SimCLR's views, steps and loss beside lightly's")
    simclr.add_argument(
        "--lightly", type=Path, required=True, help="python of an environment that has lightly"
    )
    simclr.add_argument("--rounds", type=int, default=5)
    simclr.add_argument("--cores", type=int, default=1, help="for each side (default: 1)")
    simclr.add_argument("--quick", action="store_true", help=quick)

    engines = benchmarks.add_parser("engines", help="the net on a CPU by several runtimes")
    engines.add_argument("--rounds", type=int, default=40)
    engines.add_argument("--threads", type=int, default=1)
    engines.add_argument(
        "--busy", type=int, default=0, help="processes that only count beside it (default: 0)"
    )

    training = benchmarks.add_parser("training", help="crops a second, beside those of another commit")
    training.add_argument("--base", required=True, help="the other commit")
    training.add_argument("--photos", type=Path, required=True, help="a folder of color photographs")
    training.add_argument("--rounds", type=int, default=3)
    training.add_argument("--steps", type=int, default=100)
    training.add_argument("--threads", type=int, default=2)

    for each in (
        photo,
        opinions,
        serving,
        overload,
        fill,
        connections,
        chaos,
        many_jobs,
        sizing,
        memory,
        simclr,
        engines,
        training,
    ):
        each.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="default: out/benchmarks")
    return parser.parse_args()


def _log(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
