"""Look after a net's weights: show, fetch, export."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from rich.progress import Progress

from model import bins, checkpoint
from model.nets.lite import LiteL2


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
    from model import trainer  # TensorBoard comes with training alone

    state, progressed, facts = trainer.averaged_weights(arguments.run_folder)
    recipe = facts["recipe"]
    net = checkpoint.NETS[recipe["net"]]()
    net.load_state_dict(state)
    if arguments.take_back:
        if isinstance(net, LiteL2):
            raise ValueError("this net answers ab itself: there is no rebalancing to take back")
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
