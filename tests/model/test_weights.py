"""The weights that the repository ships, and how a run becomes such a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from model import bins, checkpoint
from model.__main__ import main
from model.nets.lite import Lite, LiteL2
from model.training import building, runs
from model.training import config as configs
from model.training.logging import Progress

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
    assert card.recipe["trained"]["photos"] >= 100_000, "more crops than a trial has"
    assert len(card.recipe["start"]) == 64, "which weights it went on from"
    assert len(card.prior) == 313, "nothing is folded in: it can be decoded and fine-tuned by other shares"
    assert 0 < card.temperature <= 1
    for scores in card.numbers.values():
        assert set(scores["scores"]) >= {"gray", "lite", "truth"}
    assert card.numbers


def trained(net: Lite, folder: Path) -> dict[str, Any]:
    """A checkpoint as the trainer writes it, without the hour of training; its metadata."""
    kind = ("regress", "lite-l2") if isinstance(net, LiteL2) else ("colorize", "lite")
    metadata = {
        "method": kind[0],
        "config": asdict(configs.tiny(*kind)),
        "data": {"photos": 4, "fingerprint": "f", "prior": [1 + (q == 7) for q in range(313)]},
        "code": {"commit": "abc1234", "torch": "2"},
    }
    saved = {
        "averaged": torch.optim.swa_utils.AveragedModel(net).state_dict(),
        "progress": asdict(Progress(8, 32, 1.5)),
        "metadata": metadata,
    }
    torch.save(saved, folder / runs.CHECKPOINT)
    return metadata


def test_a_run_is_exported_as_weights_that_color(tmp_path: Path) -> None:
    options = configs.tiny("colorize", "lite").options
    net = Lite()
    metadata = trained(net, tmp_path)
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
    as_trained, _ = checkpoint.load(target, taken_back=0)
    torch.testing.assert_close(as_trained.state_dict()["head.bias"], net.head.bias.detach())
    exported, card = checkpoint.load(checkpoint.locate(str(target)))
    assert (card.name, card.net, card.size, card.temperature) == ("mine", "lite", 160, 0.5)
    assert (card.commit, card.terms, card.numbers) == ("abc1234", "mine", {"four": {"photos": 4}})
    weights = bins.class_weights(torch.tensor(metadata["data"]["prior"]), options.lam)
    with torch.no_grad():
        net.head.bias -= weights.log()
    assert (card.taken_back, card.lam) == (1, options.lam)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(exported.state_dict()[name], value, atol=1e-3, rtol=1e-3)


SHORT = ["--terms", "mine", "--data", "four photos"]


@pytest.mark.parametrize(
    ("chosen", "words", "expected"),
    [
        ({}, [], ()),
        ({"size": 256, "temperature": 0.4, "taken_back": 0.2}, [], (256, 0.4, 0.2)),
        (
            {"size": 256, "temperature": 0.4, "taken_back": 0.2},
            ["--size", "192", "--take-back", "0"],
            (192, 0.4, 0),
        ),
    ],
)
def test_what_is_not_asked_for_is_as_the_runs_validation_chose_or_as_shipped(
    chosen: dict[str, object], words: list[str], expected: tuple[float, ...], tmp_path: Path
) -> None:
    trained(Lite(), tmp_path)
    shipped = checkpoint.read_card(SHIPPED)
    expected = expected or (shipped.size, shipped.temperature, shipped.taken_back)
    if chosen:
        (tmp_path / building.EXPORT).write_text(json.dumps(chosen))
    target = tmp_path / "mine.safetensors"
    assert main(["weights", "export", str(tmp_path), "-o", str(target), *SHORT, *words]) == 0
    card = checkpoint.read_card(target)
    assert (card.size, card.temperature, card.taken_back) == expected
    assert len(card.prior) == 313


def test_several_runs_are_exported_as_the_mean_of_their_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nets = {"one": Lite(), "other": Lite(), "regression": LiteL2()}
    for name, net in nets.items():
        (tmp_path / name).mkdir()
        trained(net, tmp_path / name)
    target = tmp_path / "mine.safetensors"
    words = ["weights", "export", str(tmp_path / "one"), "-o", str(target), *SHORT, "--with"]
    assert main([*words, str(tmp_path / "regression")]) == 1
    assert "another net" in capsys.readouterr().err
    assert not target.exists()
    assert main([*words, str(tmp_path / "other")]) == 0
    found, card = checkpoint.load(target, taken_back=0)
    one, other = (nets[name].state_dict() for name in ("one", "other"))
    for name, value in found.state_dict().items():
        torch.testing.assert_close(
            value, (one[name] + other[name]) / 2, atol=1e-3, rtol=1e-3, check_dtype=False
        )
    assert card.recipe["trained"]["photos"] == 2 * 32
    assert [part["steps"] for part in card.recipe["mean_of"]] == [8, 8]


def test_a_regression_has_no_rebalancing_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(LiteL2(), tmp_path)
    target = tmp_path / "l2.safetensors"
    words = ["weights", "export", str(tmp_path), "-o", str(target), *SHORT]
    assert main([*words, "--take-back", "0.5"]) == 1
    assert "answers ab itself" in capsys.readouterr().err
    assert not target.exists()
    assert main(words) == 0
    card = checkpoint.load(target)[1]
    assert (card.prior, card.taken_back) == ((), 0)


@pytest.mark.parametrize("words", [["--size", "200"], ["--take-back", "1.5"], ["--temperature", "0"]])
def test_a_card_that_could_not_be_loaded_is_not_exported(words: list[str], tmp_path: Path) -> None:
    trained(Lite(), tmp_path)
    target = tmp_path / "mine.safetensors"
    assert main(["weights", "export", str(tmp_path), "-o", str(target), *SHORT, *words]) == 1
    assert not target.exists()


def test_a_size_that_the_net_cannot_take_is_refused_with_the_card(tmp_path: Path) -> None:
    card = json.loads(SHIPPED.with_suffix(".json").read_text()) | {"size": 200}
    with pytest.raises(checkpoint.CheckpointError, match="size"):
        checkpoint.Card.from_json(json.dumps(card))
