"""What each command of `python -m model` does. Each takes its parsed words and returns the exit status.

Training alone wants the extra `train` (TensorBoard, the ImageNet trunk), and so it alone is imported when it is asked for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from rich.progress import Progress

from model import bins, checkpoint, datasets, photo
from model.colorizer import Colorizer, ColorOptions, choose_device
from model.evaluate import color

_BATCH = 4


def colorize(arguments: argparse.Namespace) -> int:
    """Color each photo into OUT, under its own name; go on past a bad one, name it, and end with 1.

    What OUT holds already is left as it is, so that a run that was stopped goes on where it was.
    """
    options = ColorOptions(arguments.temperature, arguments.vividness)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"{arguments.out} is a file; name a folder for the results")
    pairs, others = _sources(arguments.photos, arguments.out)
    if not pairs:
        raise ValueError(f"there are no photographs in {', '.join(map(str, arguments.photos))}")
    colorizer = Colorizer.load(arguments.net, arguments.device)
    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    stopped = False
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("coloring", total=len(pairs))
        try:
            for path, outcome, reason in _colored(colorizer, options, pairs, arguments):
                counts[outcome] += 1
                if reason:
                    console.print(f"{path}: {reason}", markup=False, highlight=False, soft_wrap=True)
                bar.advance(task)
        except KeyboardInterrupt:
            stopped = True
    said = [f"{counts['colored']} of {len(pairs)} colored into {arguments.out}", f"{counts['failed']} failed"]
    if counts["there"]:
        said.append(f"{counts['there']} were there already (--overwrite colors them anew)")
    if others:
        said.append(f"{sum(others.values())} files of other kinds left alone ({', '.join(sorted(others))})")
    print(", ".join(said))
    return 130 if stopped else 1 if counts["failed"] else 0


def _colored(
    colorizer: Colorizer,
    options: ColorOptions,
    pairs: Sequence[tuple[Path, Path]],
    arguments: argparse.Namespace,
) -> Iterator[tuple[Path, str, str]]:
    """(photo, "colored" | "there" | "failed", what a person is to know) for each pair, in batches of a few."""
    taken = {path.resolve() for path, _ in pairs}  # by originals, and by results of this run
    for start in range(0, len(pairs), _BATCH):
        batch: list[tuple[Path, Path, photo.Photo]] = []
        for path, name in pairs[start : start + _BATCH]:
            try:
                opened = photo.open(path.read_bytes())
            except (photo.PhotoError, OSError) as error:
                yield path, "failed", error.detail if isinstance(error, photo.PhotoError) else str(error)
                continue
            target = (arguments.out / name).with_suffix(photo.extension(photo.saved_format(opened)))
            if target.resolve() in taken:
                yield path, "failed", f"{target} is taken by another photo; color it into another folder"
            elif target.is_file() and not arguments.overwrite:
                yield path, "there", ""
            else:
                taken.add(target.resolve())
                batch.append((path, target, opened))
        logits = colorizer.infer([colorizer.prepare(opened) for _, _, opened in batch])
        for (path, target, opened), likely in zip(batch, logits, strict=True):
            try:
                _write(target, photo.save(colorizer.finish(opened, likely, options)))
            except OSError as error:
                yield path, "failed", str(error)
            else:
                yield path, "colored", ""


def _write(target: Path, data: bytes) -> None:
    """All of it or nothing, whenever we are stopped."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half_written = target.with_name(f".{target.name}.part")
    half_written.write_bytes(data)
    half_written.replace(target)


def train(arguments: argparse.Namespace) -> int:
    """Train a method by a recipe, continuing the run's checkpoint where there is one."""
    from model import recipes, trainer

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
    if not survey.photos:
        raise ValueError("nothing is left to learn from: color photographs are needed")
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
    schedule = recipe.schedule(arguments.save_every, arguments.workers)
    try:
        trainer.train(method, optimizer, batches, schedule, arguments.run_folder, facts, device)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from the last checkpoint in {arguments.run_folder}")
        return 130
    print(
        f"{recipe.steps} steps done; `python -m model weights export {arguments.run_folder} …` makes weights of them"
    )
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the table of `evaluate.color`; write it as JSON and Markdown, and a contact sheet beside."""
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
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "color.md").write_text(table)
    facts = {
        "photos": len(photos),
        "nets": {c.name: c.sha256 for c in colorizers},
        "scores": color.as_json(scores),
    }
    (arguments.out / "color.json").write_text(json.dumps(facts, indent=2) + "\n")
    sheet = color.contact_sheet(colorizers, photos, options=options)
    sheet.save(arguments.out / "color.jpg", quality=90)
    print(f"the contact sheet: {arguments.out / 'color.jpg'}")
    return 0


def gallery(arguments: argparse.Namespace) -> int:
    """Write photographs side by side as a person would see them: gray, colored, true."""
    colorizer = Colorizer.load(arguments.net, arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in datasets.find(arguments.photos):
        color.strip(colorizer, datasets.read(path)).save(arguments.out / f"{path.stem}.jpg", quality=88)
    return 0


def show_weights(arguments: argparse.Namespace) -> int:
    """Print a net's card."""
    print(checkpoint.read_card(checkpoint.locate(arguments.net)).to_json(), end="")
    return 0


def fetch_weights(arguments: argparse.Namespace) -> int:
    """Download published weights, once."""
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
    if arguments.out.suffix != ".safetensors":
        raise ValueError(f"{arguments.out} must end in .safetensors")
    from model import trainer

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


def _sources(given: Sequence[Path], out: Path) -> tuple[list[tuple[Path, Path]], Counter[str]]:
    """(photo, its name under OUT) for each photo named and each file with a photo's ending in a folder named; other endings, counted.

    Where OUT lies inside such a folder, what is in it is the result of an earlier run, and no source.
    """
    endings = {photo.extension(name) for name in photo.READABLE} | {".jpeg", ".jpe", ".jfif", ".tiff"}
    pairs: list[tuple[Path, Path]] = []
    others: Counter[str] = Counter()
    for path in given:
        if not path.is_dir():
            pairs.append((path, Path(path.name)))
            continue
        results = out.resolve() if path.resolve() in out.resolve().parents else None
        for inside in sorted(path.rglob("*")):
            if inside.is_dir() or (results is not None and results in inside.resolve().parents):
                continue
            if inside.suffix.lower() in endings:
                pairs.append((inside, inside.relative_to(path)))
            else:
                others[inside.suffix.lower() or "without an ending"] += 1
    return pairs, others


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
