"""Train a method by a recipe. Wants the extra `train`: TensorBoard, and the trunk that ImageNet made."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch

from model import checkpoint, datasets, recipes, trainer
from model.colorizer import choose_device
from model.commands.commit import commit
from model.commands.pretrain import pretrain


def train(arguments: argparse.Namespace) -> int:
    """Train a method by a recipe, continuing the run's checkpoint where there is one."""
    if arguments.method != "colorize" or arguments.net:
        return pretrain(arguments)
    name = arguments.recipe or "first-weights"
    if name not in recipes.RECIPES:
        raise ValueError(f"no recipe is called {name!r}: choose one of {', '.join(recipes.RECIPES)}")
    device = choose_device(arguments.device)
    chosen = {key: value for key in ("steps", "seed") if (value := getattr(arguments, key)) is not None}
    recipe = replace(recipes.RECIPES[name]().changed(arguments.set), **chosen)
    run = arguments.run_folder or Path("runs") / arguments.method
    sources = [datasets.find([source], arguments.exclude) for source in arguments.photos]
    kept, held_out = datasets.split(
        sorted({path for source in sources for path in source}), arguments.hold_out
    )
    apart = held_out + (datasets.find(arguments.apart_from) if arguments.apart_from else [])
    survey = datasets.survey(kept, apart)
    print(
        f"{len(survey.photos)} photographs to learn from; left out: {datasets.counted(survey.left_out())}, {len(held_out)} held out"
    )
    datasets.write_names(survey.left_out(), run)
    if not survey.photos:
        raise ValueError("nothing is left to learn from: color photographs are needed")
    learnt = set(survey.photos)
    batches = datasets.Crops(
        [[path for path in source if path in learnt] for source in sources],
        recipe.batch,
        recipe.sides(),
        recipe.seed,
        recipe.smallest,
        recipe.balance,
        run=run,
    )
    prior = datasets.prior([batches.photo(number) for number in range(len(survey.photos))])
    method, optimizer = recipes.build(recipe, prior)
    facts = {
        "recipe": asdict(recipe) | {"start": _hash(recipe.start)},
        "data": {
            "photos": len(survey.photos),
            "drawn": batches.drawn,  # of each source, in an epoch
            "fingerprint": datasets.fingerprint(survey.photos),
            "prior": prior.tolist(),
        },
        "code": {"commit": commit(), "torch": str(torch.__version__)},
    }
    schedule = recipe.schedule(arguments.save_every, arguments.workers)
    try:
        trainer.train(method, optimizer, batches, schedule, run, facts, device)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from the last checkpoint in {run}")
        return 130
    print(f"{recipe.steps} steps done; `python -m model weights export {run} …` makes weights of them")
    return 0


def _hash(start: str) -> str:
    """What a run was begun from: a name or a path would mean something else another day."""
    return checkpoint.read_card(checkpoint.locate(start)).sha256 if start else ""
