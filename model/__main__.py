"""Color photographs; train and measure the network that does; look after its weights.

python -m model colorize PHOTO_OR_DIR... -o OUT
python -m model train colorize --photos DIR... --run runs/first
python -m model evaluate color --photos DIR... -o out/evaluation
python -m model weights show lite
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import Progress

from model import photo

_BATCH = 4


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 when something could not be done, 2 for a wrong command line."""
    arguments = _parser().parse_args(words)
    from model.checkpoint import CheckpointError

    try:
        return int(arguments.run(arguments))
    except ModuleNotFoundError as missing:
        print(f"python -m model: {missing.name} is not installed; `make setup` has it all", file=sys.stderr)
        return 1
    except (CheckpointError, OSError, ValueError, ArithmeticError) as error:
        print(f"python -m model: {error}", file=sys.stderr)
        return 1


def colorize(arguments: argparse.Namespace) -> int:
    """Color each photo into OUT, under its own name; go on past a bad one, name it, and end with 1."""
    from model.colorizer import Colorizer, ColorOptions

    options = ColorOptions(arguments.temperature, arguments.vividness)
    colorizer = Colorizer.load(arguments.net, arguments.device)
    console = Console(stderr=True)
    pairs = list(_sources(arguments.photos, arguments.out))
    if not pairs:
        raise ValueError(f"there are no photographs in {', '.join(map(str, arguments.photos))}")
    taken = {path.resolve() for path, _ in pairs}  # by originals, and by results so far
    failed: list[tuple[Path, str]] = []
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("coloring", total=len(pairs))
        for start in range(0, len(pairs), _BATCH):
            opened: list[tuple[Path, Path, photo.Photo]] = []
            for path, name in pairs[start : start + _BATCH]:
                try:
                    opened.append((path, name, photo.open(path.read_bytes())))
                except (photo.PhotoError, OSError) as error:
                    failed.append((path, error.detail if isinstance(error, photo.PhotoError) else str(error)))
            logits = colorizer.infer([colorizer.prepare(single) for _, _, single in opened])
            for (path, name, single), likely in zip(opened, logits, strict=True):
                done = colorizer.finish(single, likely, options)
                target = (arguments.out / name).with_suffix(photo.extension(photo.saved_format(done)))
                if target.resolve() in taken:
                    failed.append((path, f"{target} is taken by another photo; color it into another folder"))
                    continue
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(photo.save(done))
                except OSError as error:
                    failed.append((path, str(error)))
                else:
                    taken.add(target.resolve())
            bar.advance(task, len(pairs[start : start + _BATCH]))
    for path, reason in failed:
        print(f"{path}: {reason}", file=sys.stderr)
    print(f"{len(pairs) - len(failed)} colored into {arguments.out}, {len(failed)} failed")
    return 1 if failed else 0


def train(arguments: argparse.Namespace) -> int:
    """Train a method by a recipe, continuing the run's checkpoint where there is one."""
    import torch

    from model import datasets, recipes, trainer
    from model.colorizer import choose_device

    if arguments.recipe not in recipes.RECIPES:
        raise ValueError(
            f"no recipe is called {arguments.recipe!r}: choose one of {', '.join(recipes.RECIPES)}"
        )
    device = choose_device(arguments.device)
    chosen = {key: value for key in ("steps", "seed") if (value := getattr(arguments, key)) is not None}
    recipe = replace(recipes.RECIPES[arguments.recipe](), **chosen)
    kept, held_out = datasets.split(datasets.find(arguments.photos, arguments.exclude), arguments.hold_out)
    apart = held_out + (datasets.find(arguments.apart_from) if arguments.apart_from else [])
    survey = datasets.survey(kept, apart)
    print(
        f"{len(survey.photos)} photographs to learn from; left out: {survey.gray} gray, {survey.toned} toned, "
        f"{survey.copies} copies, {survey.unreadable} unreadable, {len(held_out)} held out"
    )
    prior = datasets.prior(survey.photos)
    method, optimizer = recipes.build(recipe, prior)
    facts = {
        "recipe": asdict(recipe),
        "data": {
            "photos": len(survey.photos),
            "fingerprint": datasets.fingerprint(survey.photos),
            "prior": prior.tolist(),
        },
        "code": {"commit": _commit(), "torch": str(torch.__version__)},
    }
    batches = datasets.Crops(survey.photos, recipe.batch, recipe.crops(), recipe.seed, recipe.smallest)
    trainer.train(
        method,
        optimizer,
        batches,
        recipe.schedule(arguments.save_every, arguments.workers),
        arguments.run_folder,
        facts,
        device,
    )
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the table of `evaluate.color`; with -o also write it, as JSON and Markdown, and a contact sheet."""
    from model import datasets
    from model.colorizer import Colorizer, ColorOptions
    from model.evaluate import color

    photos = datasets.find(arguments.photos, arguments.exclude)
    if arguments.only:
        photos = [path for path in photos if path.match(arguments.only)]
    if arguments.held_out:
        photos = datasets.split(photos, arguments.held_out)[1]
    if 0 < arguments.limit < len(photos):
        photos = [photos[index * len(photos) // arguments.limit] for index in range(arguments.limit)]
    colorizers = [Colorizer.load(net, arguments.device) for net in arguments.net]
    options = ColorOptions(arguments.temperature)
    scores = color.evaluate(colorizers, photos, options)
    table = f"{len(photos)} photographs\n\n{color.table(scores)}\n"
    print(table)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "color.md").write_text(table)
        facts = {
            "photos": len(photos),
            "nets": {c.name: c.sha256 for c in colorizers},
            "scores": color.as_json(scores),
        }
        (arguments.out / "color.json").write_text(json.dumps(facts, indent=2) + "\n")
        color.contact_sheet(colorizers, photos, options=options).save(arguments.out / "color.jpg", quality=90)
    return 0


def gallery(arguments: argparse.Namespace) -> int:
    """Write photographs side by side as a person would see them: gray, colored, true."""
    from model import datasets
    from model.colorizer import Colorizer
    from model.evaluate import color

    colorizer = Colorizer.load(arguments.net, arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in datasets.find(arguments.photos):
        color.strip(colorizer, datasets.read(path)).save(arguments.out / f"{path.stem}.jpg", quality=88)
    return 0


def show_weights(arguments: argparse.Namespace) -> int:
    """Print a net's card."""
    from model import checkpoint

    print(checkpoint.read_card(checkpoint.locate(arguments.net)).to_json(), end="")
    return 0


def fetch_weights(arguments: argparse.Namespace) -> int:
    """Download published weights, once."""
    from model import checkpoint

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"fetching {arguments.net}", total=None)
        path = checkpoint.fetch_known(
            arguments.net, arguments.mirror, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print(path)
    return 0


def export_weights(arguments: argparse.Namespace) -> int:
    """The averaged weights of a training run, as safetensors with a card."""
    import torch

    from model import bins, checkpoint, trainer

    state, progressed, facts = trainer.averaged_weights(arguments.run_folder)
    recipe = facts["recipe"]
    net = checkpoint.NETS[recipe["net"]]()
    net.load_state_dict(state)
    weights = bins.class_weights(torch.tensor(facts["data"]["prior"]), recipe["lam"])
    with torch.no_grad():
        cast(torch.Tensor, net.head.bias).add_(bins.taken_back(weights, arguments.take_back))
    numbers = {
        name: json.loads(Path(path).read_text())
        for name, _, path in (pair.partition("=") for pair in arguments.numbers)
    }
    card = checkpoint.Card(
        name=arguments.out.stem,
        net=recipe["net"],
        temperature=arguments.temperature,
        size=arguments.size,
        terms=arguments.terms,
        data=arguments.data,
        recipe=recipe
        | {
            "photos": facts["data"]["photos"],
            "trained": asdict(progressed),
            "taken_back": arguments.take_back,
        },
        commit=facts["code"]["commit"],
        numbers=numbers,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    card = checkpoint.save(net, card, arguments.out, torch.float16)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB, sha256 {card.sha256}")
    return 0


def _sources(given: Sequence[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """(photo, its name under OUT) for each photo named, and each file with a photo's ending in a folder named.

    Where OUT lies inside such a folder, what is in it is the result of an earlier run, and no source.
    """
    endings = {photo.extension(name) for name in photo.READABLE} | {".jpeg", ".tiff"}
    for path in given:
        if path.is_dir():
            results = out.resolve() if path.resolve() in out.resolve().parents else None
            for inside in sorted(path.rglob("*")):
                is_result = results is not None and results in inside.resolve().parents
                if inside.suffix.lower() in endings and not is_result:
                    yield inside, inside.relative_to(path)
        else:
            yield path, Path(path.name)


def _commit() -> str:
    """The checkout's, or "" where the package is installed without one."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model", description="Color photographs; train and measure the network that does."
    )
    commands = parser.add_subparsers(required=True, metavar="colorize | train | evaluate | gallery | weights")

    one = commands.add_parser("colorize", help="color photographs")
    one.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_DIR")
    one.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for the results")
    one.add_argument("--net", default="lite", help="a net's name, or a .safetensors file (default: lite)")
    one.add_argument(
        "--temperature",
        type=float,
        help="0, the likeliest color, to 1, the mean of all; default: the net's own",
    )
    one.add_argument("--vividness", type=float, default=1.0, help="factor on the chroma (default: 1)")
    one.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1…")
    one.set_defaults(run=colorize)

    one = commands.add_parser("train", help="learn from folders of color photographs")
    one.add_argument("method", choices=["colorize"])
    one.add_argument(
        "--photos",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="folders, or a VOC list of photos",
    )
    one.add_argument("--exclude", nargs="*", default=[], metavar="GLOB", help="file names to leave out")
    one.add_argument(
        "--hold-out",
        type=int,
        default=0,
        metavar="N",
        help="leave out N tenths of all, by a hash of the name",
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
        required=True,
        metavar="DIR",
        help="the run's folder; continued where it has a checkpoint",
    )
    one.add_argument(
        "--recipe",
        default="first-weights",
        metavar="NAME",
        help="of model/recipes.py (default: first-weights)",
    )
    one.add_argument("--steps", type=int, help="other than the recipe's")
    one.add_argument("--seed", type=int, help="other than the recipe's")
    one.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that make batches (default: 1)"
    )
    one.add_argument(
        "--save-every",
        type=float,
        default=180,
        metavar="S",
        help="seconds between checkpoints (default: 180)",
    )
    one.add_argument("--device", default="auto")
    one.set_defaults(run=train)

    one = commands.add_parser("evaluate", help="measure a net on color photographs it has not seen")
    one.add_argument("what", choices=["color"])
    one.add_argument(
        "--photos",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="folders, or a VOC list of photos",
    )
    one.add_argument("--exclude", nargs="*", default=[], metavar="GLOB", help="file names to leave out")
    one.add_argument("--only", metavar="GLOB", help="file names to keep")
    one.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="only what `train --hold-out N` left out"
    )
    one.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many, evenly chosen")
    one.add_argument("--net", nargs="+", default=["lite"], help="names or .safetensors files")
    one.add_argument("--temperature", type=float, help="other than the net's own")
    one.add_argument("--device", default="auto")
    one.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="DIR",
        help="write color.json, color.md and the contact sheet color.jpg",
    )
    one.set_defaults(run=evaluate)

    one = commands.add_parser("gallery", help="photographs side by side: gray, colored, true")
    one.add_argument("--photos", nargs="+", type=Path, default=[Path("scikit-image")], metavar="DIR")
    one.add_argument("--net", default="lite")
    one.add_argument("--device", default="auto")
    one.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    one.set_defaults(run=gallery)

    weights = commands.add_parser("weights", help="show, fetch or export weights").add_subparsers(
        required=True, metavar="show | fetch | export"
    )
    one = weights.add_parser("show", help="print a net's card")
    one.add_argument("net")
    one.set_defaults(run=show_weights)
    one = weights.add_parser("fetch", help="download published weights")
    one.add_argument("net")
    one.add_argument(
        "--mirror",
        nargs="*",
        default=[],
        metavar="URL",
        help="asked before the published places; file:// too",
    )
    one.set_defaults(run=fetch_weights)
    one = weights.add_parser("export", help="the averaged weights of a training run, with a card")
    one.add_argument("run_folder", type=Path, metavar="RUN")
    one.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="…/name.safetensors")
    one.add_argument("--temperature", type=float, default=0.38)
    one.add_argument(
        "--size", type=int, default=192, help="the shorter side that the net sees, a multiple of 32"
    )
    one.add_argument(
        "--take-back",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the rebalancing to take back: 0, as it was trained, to 1, as calm as the photographs",
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
    one.set_defaults(run=export_weights)
    return parser


if __name__ == "__main__":
    sys.exit(main())
