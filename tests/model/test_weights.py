"""The weights that the repository ships, and how a run becomes such a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from model import bins, checkpoint
from model.__main__ import main
from model.commands import selection
from model.errors import InputError
from model.nets.lite import Lite, LiteL2
from model.training import building, runs
from model.training import config as configs
from model.training.config import Config
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
    # The last stage's: it is short, and `data` says what those before it saw.
    assert card.recipe["trained"]["photos"] >= 50_000, "more crops than a trial has"
    assert len(card.recipe["start"]) == 64, "which weights it went on from"
    assert card.recipe["options"]["realism"]["adversary"] > 0
    assert "291,200 crops" in card.data
    assert len(card.prior) == 313, "nothing is folded in: it can be decoded and fine-tuned by other shares"
    assert 0 < card.temperature <= 1
    for scores in card.numbers.values():
        assert set(scores["scores"]) >= {"gray", "lite", "truth"}
    assert card.numbers


def trained(net: Lite, folder: Path, *settings: str, start: dict[str, Any] | None = None) -> dict[str, Any]:
    """A checkpoint as the trainer writes it, without the hour of training; its metadata."""
    kind = ("regress", "lite-l2") if isinstance(net, LiteL2) else ("colorize", "lite")
    metadata = {
        "method": kind[0],
        "config": asdict(configs.tiny(*kind).changed(settings)),
        "data": {"photos": 4, "fingerprint": "f", "prior": [1 + (q == 7) for q in range(313)]},
        "start": start or {},
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
        ({}, ["start"], (192, 0.7, 0.6)),
        ({"size": 256, "temperature": 0.4, "taken_back": 0.2}, [], (256, 0.4, 0.2)),
        (
            {"size": 256, "temperature": 0.4, "taken_back": 0.2},
            ["--size", "192", "--take-back", "0"],
            (192, 0.4, 0),
        ),
    ],
)
def test_what_is_not_asked_for_is_as_the_runs_validation_chose_or_as_its_start_or_as_shipped(
    chosen: dict[str, object], words: list[str], expected: tuple[float, ...], tmp_path: Path
) -> None:
    its = {"size": 192, "temperature": 0.7, "taken_back": 0.6, "prior": (1.0,) * 313, "lam": 0.1}
    metadata = trained(Lite(), tmp_path, start=its if "start" in words else None)
    words = [word for word in words if word != "start"]
    shipped = checkpoint.read_card(SHIPPED)
    expected = expected or (shipped.size, shipped.temperature, shipped.taken_back)
    if chosen:
        (tmp_path / building.EXPORT).write_text(json.dumps(chosen))
    target = tmp_path / "mine.safetensors"
    assert main(["weights", "export", str(tmp_path), "-o", str(target), *SHORT, *words]) == 0
    card = checkpoint.read_card(target)
    assert (card.size, card.temperature, card.taken_back) == expected
    assert card.prior == tuple(metadata["data"]["prior"]), "that which it learned with"
    assert card.lam == metadata["config"]["options"]["lam"]


def loaded(config: Config, rare: int = 7) -> building.Trained:
    """A run without its weights, which validation chose nothing for."""
    data = {"photos": 4, "prior": [1.0 + (q == rare) for q in range(313)]}
    metadata = {"config": asdict(config), "data": data, "code": {"commit": "abc1234"}}
    return building.Trained(nn.Module(), config, metadata, 8, 32, 1.5, 1.5, -1, None)


def test_a_run_of_the_papers_net_is_decoded_as_its_published_weights_are() -> None:
    card = selection.card_of(loaded(configs.zhang2016("colorize", "eccv16")), "mine")
    assert (card.size, card.temperature, card.taken_back, card.lam) == (256, 1.0, 0.0, 0.5)


def test_several_runs_are_exported_as_the_mean_of_their_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nets = {"one": Lite(), "other": Lite(), "begun elsewhere": Lite()}
    for (name, net), value in zip(nets.items(), (0.25, 0.75, 0.0), strict=True):
        for parameter in net.parameters():
            nn.init.constant_(parameter, value)
        (tmp_path / name).mkdir()
    trained(nets["one"], tmp_path / "one", "start=lite")
    trained(nets["other"], tmp_path / "other", "start=lite", "seed=1", "hinted=0.5")
    trained(nets["begun elsewhere"], tmp_path / "begun elsewhere", "start=runs/first")
    target = tmp_path / "mine.safetensors"
    words = ["weights", "export", str(tmp_path / "one"), "-o", str(target), *SHORT]
    words += ["--with", str(tmp_path / "other")]
    assert main([*words, "--with", str(tmp_path / "begun elsewhere")]) == 1
    assert "another start: 'lite' and 'runs/first'" in capsys.readouterr().err
    assert not target.exists()
    assert main(words) == 0
    found, card = checkpoint.load(target, taken_back=0)
    assert {value for parameter in found.parameters() for value in parameter.unique().tolist()} == {0.5}
    assert card.recipe["trained"]["photos"] == 2 * 32
    assert card.recipe["mean_of"] == [{"steps": 8, "seed": 0}, {"steps": 8, "seed": 1, "hinted": 0.5}]


@pytest.mark.parametrize(
    ("kind", "settings", "rare", "said"),
    [
        (("regress", "lite-l2"), ["start=lite"], 7, "another net"),
        (("colorize", "lite"), ["start=lite", "lam=0.6"], 7, "another lam"),
        (("colorize", "lite"), ["start=lite"], 8, "another prior"),
        (("colorize", "lite"), [], 7, "another start"),
    ],
)
def test_what_began_or_learned_otherwise_has_no_mean(
    kind: tuple[str, str], settings: list[str], rare: int, said: str
) -> None:
    first = loaded(configs.tiny("colorize", "lite").changed(["start=lite"]))
    with pytest.raises(InputError, match=said):
        building.mean([first, loaded(configs.tiny(*kind).changed(settings), rare)])


def test_what_began_from_no_weights_has_no_mean() -> None:
    with pytest.raises(InputError, match="began from no weights"):
        building.mean([loaded(configs.tiny("colorize", "lite"))] * 2)


def written(folder: Path, name: str, value: float, **card: Any) -> str:
    """A file of a net all of whose weights are `value`."""
    found = replace(checkpoint.read_card(SHIPPED), name=name, **card)
    net = checkpoint.NETS[found.net]()
    for parameter in net.parameters():
        nn.init.constant_(parameter, value)
    checkpoint.save(net, found, folder / f"{name}.safetensors")
    return str(folder / f"{name}.safetensors")


def values_of(path: Path) -> set[float]:
    net, _ = checkpoint.load(path, taken_back=0 if checkpoint.read_card(path).prior else None)
    return {value for parameter in net.parameters() for value in parameter.unique().tolist()}


def recipe(steps: int, **more: Any) -> dict[str, Any]:
    return {"start": "lite", "steps": steps, "trained": {"step": steps, "photos": 32 * steps}} | more


def test_files_of_weights_have_a_mean_by_parts_whose_card_says_of_what(tmp_path: Path) -> None:
    first = written(
        tmp_path, "one", 0.25, taken_back=0.4, recipe=recipe(8, mean_of=[{"steps": 8}]), notes="a"
    )
    files = [first, written(tmp_path, "other", 0.75, recipe=recipe(4))]
    target = tmp_path / "mine.safetensors"
    words = ["weights", "mean", *files, "-o", str(target), "--data", "four photos"]
    assert main([*words, "--parts", "3,1"]) == 0
    assert values_of(target) == {0.375}
    card = checkpoint.read_card(target)
    one, other = (checkpoint.read_card(Path(file)) for file in files)
    assert card.recipe["mean_of_files"] == [
        {"sha256": one.sha256, "part": 3, **one.recipe},
        {"sha256": other.sha256, "part": 1, **other.recipe},
    ]
    assert card.recipe | {"mean_of_files": []} == recipe(12) | {"mean_of_files": []}, "of both together"
    assert (card.taken_back, card.data, card.terms) == (0.4, "four photos", one.terms), "as the first"
    assert (card.notes, card.numbers, card.calibration, card.boldness) == ("", {}, None, ())
    files[1] = written(tmp_path, "unknown", 0.75, recipe={})
    assert main([*words[:3], files[1], *words[4:], "--take-back", "0.1"]) == 0
    card = checkpoint.read_card(target)
    assert card.taken_back == 0.1
    assert not {"steps", "trained"} & card.recipe.keys(), "not known of both"
    assert values_of(target) == {0.5}, "all alike"


def test_nets_without_a_prior_have_a_mean(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"net": "lite-l2", "prior": (), "taken_back": 0}
    files = [written(tmp_path, name, value, **bare) for name, value in (("one", 0.25), ("other", 0.75))]
    target = tmp_path / "mine.safetensors"
    assert main(["weights", "mean", *files, "-o", str(target), "--data", "four photos"]) == 0
    assert values_of(target) == {0.5}


BARE: dict[str, Any] = {"prior": (), "taken_back": 0}


@pytest.mark.parametrize(
    ("its", "changed", "words", "said"),
    [
        ({}, {"net": "lite-l2"} | BARE, [], "another net than one: lite-l2 and lite"),
        ({}, {"lam": 0.5}, [], "another lam than one: 0.5 and 0.7"),
        ({}, {"prior": tuple(float(q + 1) for q in range(313))}, [], "learned by another prior than one"),
        ({}, BARE, [], "one card holds a prior, the other none"),
        (BARE, BARE | {"recipe": {"taken_back": 0.2}}, [], "another share taken back in its bias"),
        ({}, {"terms": "research only"}, [], "say with --terms"),
        ({}, {}, ["--parts", "1"], "2 nets need 2 parts above 0"),
        ({}, {}, ["--parts", "1,0"], "2 nets need 2 parts above 0"),
        ({}, {}, ["--parts", "1e308,1e308"], "2 nets need 2 parts above 0"),
        ({}, {}, ["--parts", "1,half"], "numbers with commas between, not '1,half'"),
    ],
)
def test_what_learned_otherwise_has_no_mean_and_parts_are_numbers(
    its: dict[str, Any],
    changed: dict[str, Any],
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [written(tmp_path, "one", 0.25, **its), written(tmp_path, "other", 0.75, **changed)]
    target = tmp_path / "mine.safetensors"
    assert main(["weights", "mean", *files, "-o", str(target), "--data", "four photos", *words]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert not target.exists()


def test_another_kind_of_file_has_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [written(tmp_path, "one", 0.25), str(tmp_path / "brought.onnx")]
    target = tmp_path / "mine.safetensors"
    assert main(["weights", "mean", *files, "-o", str(target), "--data", "four photos"]) == 1
    assert "only .safetensors have a mean" in " ".join(capsys.readouterr().err.split())
    assert not target.exists()


def test_a_mean_is_of_several_files_each_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "one", 0.25)
    words = ["weights", "mean", "-o", str(tmp_path / "mine.safetensors"), "--data", "four photos", file]
    for files in ([], [file]):
        assert main([*words, *files]) == 1
        assert "two files or more, each named once" in capsys.readouterr().err


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
