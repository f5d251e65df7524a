"""Look after a net's weights: show, fetch, export."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from model import checkpoint
from model.commands import selection
from model.errors import InputError
from model.evaluate.report import for_card
from model.training import building


def show(arguments: argparse.Namespace) -> int:
    """Print a net's card."""
    print(checkpoint.read_card(checkpoint.locate(arguments.net)).to_json(), end="")
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Download published weights, once."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"fetching {arguments.net}", total=None)
        path = checkpoint.fetch_known(
            arguments.net, arguments.mirror, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print(path)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """The averaged weights of a training run as they were trained, as safetensors; and a card that says how to decode them.

    What is not given of size, temperature and share taken back is what the run's validation chose (`selection.card_of`).
    """
    if arguments.out.suffix != ".safetensors":
        raise InputError(f"{arguments.out} must end in .safetensors")
    trained = building.load(arguments.run_folder)
    if arguments.take_back and trained.weights is None:
        raise InputError("this net answers ab itself: there is no rebalancing to take back")
    numbers = {
        name: _numbers(Path(path)) for name, _, path in (pair.partition("=") for pair in arguments.numbers)
    }
    given = {
        "size": arguments.size,
        "temperature": arguments.temperature,
        "taken_back": arguments.take_back,
    }
    card = replace(
        selection.card_of(trained, arguments.out.stem),
        terms=arguments.terms,
        data=arguments.data,
        numbers=numbers,
        **{key: value for key, value in given.items() if value is not None},
    )
    checkpoint.Card.from_json(card.to_json())  # before a file is there that `load` would refuse
    card = checkpoint.save(trained.net, card, arguments.out, torch.float16)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB, sha256 {card.sha256}")
    return 0


def _numbers(path: Path) -> dict[str, Any]:
    """What a card keeps of a color.json. Raises InputError for a file that is none, OSError where there is none."""
    try:
        written = json.loads(path.read_text())
        written["scores"]  # which every color.json has, and `for_card` can do without
        return for_card(written)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no color.json of `evaluate color`: {error}") from error
