"""Look after a net's weights: show, fetch, export."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from model import checkpoint
from model.commands import run
from model.evaluate.report import for_card


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
    """The averaged weights of a training run, as safetensors with a card."""
    if arguments.out.suffix != ".safetensors":
        raise ValueError(f"{arguments.out} must end in .safetensors")
    trained = run.read(arguments.run_folder)
    trained.take_back(arguments.take_back)
    numbers = {
        name: for_card(json.loads(Path(path).read_text()))
        for name, _, path in (pair.partition("=") for pair in arguments.numbers)
    }
    card = checkpoint.Card(
        name=arguments.out.stem,
        net=trained.recipe["net"],
        temperature=arguments.temperature,
        size=arguments.size,
        terms=arguments.terms,
        data=arguments.data,
        recipe=trained.recipe
        | {
            "photos": trained.facts["data"]["photos"],
            "trained": trained.trained,
            "taken_back": arguments.take_back,
        },
        commit=trained.facts["code"]["commit"],
        numbers=numbers,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    card = checkpoint.save(trained.net, card, arguments.out, torch.float16)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB, sha256 {card.sha256}")
    return 0
