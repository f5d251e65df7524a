"""The weights that the repository ships, and how a run becomes such a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors.torch
import torch

from model import bins, checkpoint, recipes, trainer
from model.__main__ import main
from model.nets.lite import Lite

SHIPPED = Path(checkpoint.__file__).parent / "weights" / "lite.safetensors"


def test_the_shipped_weights_are_small_half_precise_and_whole() -> None:
    assert SHIPPED.stat().st_size <= 16 * 2**20
    tensors = safetensors.torch.load_file(SHIPPED)
    matrices = [value.dtype for value in tensors.values() if value.ndim > 1]
    assert set(matrices) == {torch.float16}
    net, card = checkpoint.load(SHIPPED)
    assert isinstance(net, Lite)
    assert card.sha256 == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()


def test_the_card_says_what_a_user_must_know() -> None:
    card = checkpoint.read_card(SHIPPED)
    assert "Apache-2.0" in card.terms
    for source in ("imagenette", "caltech101", "scenes", "VOC2007"):
        assert source in card.data
    assert len(card.commit) >= 7
    assert card.recipe["trained"]["step"] == card.recipe["steps"], "the run was ended"
    assert card.recipe["trained"]["elapsed_s"] >= 3600, "an hour of training at least"
    assert 0 < card.temperature <= 1
    for scores in card.numbers.values():
        assert set(scores["scores"]) >= {"gray", "lite", "truth"}
    assert card.numbers


def test_a_run_is_exported_as_weights_that_color(tmp_path: Path) -> None:
    """From a checkpoint as the trainer writes it, without the hour of training."""
    recipe = recipes.tiny()
    net = Lite()
    averaged = torch.optim.swa_utils.AveragedModel(net)
    saved = {
        "averaged": averaged.state_dict(),
        "progressed": asdict(trainer.Progressed(8, 32, 1.5)),
        "facts": {
            "recipe": asdict(recipe),
            "data": {"photos": 4, "fingerprint": "f", "prior": [1 + (q == 7) for q in range(313)]},
            "code": {"commit": "abc1234", "torch": "2"},
        },
    }
    torch.save(saved, tmp_path / "checkpoint.pt")
    numbers = tmp_path / "numbers.json"
    numbers.write_text(json.dumps({"photos": 4}))
    target = tmp_path / "mine.safetensors"
    words = [
        "weights",
        "export",
        str(tmp_path),
        "-o",
        str(target),
        "--terms",
        "mine",
        "--data",
        "four photos",
    ]
    assert (
        main(
            [
                *words,
                "--size",
                "160",
                "--temperature",
                "0.5",
                "--numbers",
                f"four={numbers}",
                "--take-back",
                "1",
            ]
        )
        == 0
    )
    exported, card = checkpoint.load(checkpoint.locate(str(target)))
    assert (card.name, card.net, card.size, card.temperature) == ("mine", "lite", 160, 0.5)
    assert (card.commit, card.terms, card.numbers) == ("abc1234", "mine", {"four": {"photos": 4}})
    weights = bins.class_weights(torch.tensor(saved["facts"]["data"]["prior"]), recipe.lam)
    with torch.no_grad():
        net.head.bias -= weights.log()
    assert card.recipe["taken_back"] == 1
    for name, value in net.state_dict().items():
        torch.testing.assert_close(exported.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_a_size_that_the_net_cannot_take_is_refused_with_the_card(tmp_path: Path) -> None:
    card = json.loads(SHIPPED.with_suffix(".json").read_text()) | {"size": 200}
    with pytest.raises(checkpoint.CheckpointError, match="size"):
        checkpoint.Card.from_json(json.dumps(card))
