"""Trunks taught from the command line: any method on any net, the control with labels, and what a run says afterwards."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from model import bins, synthetic, views
from model.training import building, config as configs
from model.__main__ import main
from model.commands.pretrain import learned
from model.commands.trunks import untaught
from model.evaluate import readings, transfer
from model.synthetic import Switches

TOYS = synthetic.Options(Switches(viewpoint=True, lighting=True), side=64, samples=1)


@pytest.fixture(scope="module")
def toys() -> synthetic.Pictures:
    return synthetic.draw(range(100), TOYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toys: synthetic.Pictures) -> Path:
    """Four classes of ten photos to learn from and two to be judged by."""
    folder = tmp_path_factory.mktemp("toys")
    for name in range(4):
        of_class = (toys.classes[:, 0] == name).nonzero()[:, 0].tolist()
        for place, number in enumerate(of_class):
            path = folder / ("val" if place < 2 else "train") / synthetic.CLASSES[name] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(toys.rgb[number].permute(1, 2, 0).numpy()).resize((96, 80)).save(path)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "contrast"
    assert main([*train("contrast", folder, run), "--recipe", "tiny"]) == 0
    return run


def train(method: str, folder: Path, run: Path) -> list[str]:
    words = ["train", method, "--photos", str(folder / "train"), "--run", str(run), "--device", "cpu"]
    return [*words, "--net", "alexnet", "--cache", str(run.parent / "cache")]


def batch(method: str, toys: synthetic.Pictures, count: int) -> Tensor | tuple[Tensor, Tensor]:
    rgb = toys.rgb[:count]
    return (rgb, toys.classes[:count, 0]) if method == "supervised" else rgb


@pytest.mark.parametrize("net", ["alexnet", "resnet18"])
@pytest.mark.parametrize("method", pretraining.METHODS)
def test_any_method_teaches_all_of_any_net(method: str, net: str, toys: synthetic.Pictures) -> None:
    recipe = pretraining.tiny(method, net)
    if method == "context":
        recipe = replace(recipe, options=replace(recipe.options, patch=24, gap=8, jitter=2, hidden=32))
    elif isinstance(recipe.options, views.Strengths):
        recipe = replace(recipe, options=views.Strengths(side=64))
    taught, optimizer = pretraining.build(recipe, 10, torch.ones(bins.COUNT))
    before = {name: value.clone() for name, value in taught.net.named_parameters()}
    for step in range(
        2
    ):  # the last norms of residual blocks begin at zero, and hide what is beneath for a step
        taught.loss(batch(method, toys, 4), torch.Generator().manual_seed(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = {name for name, value in taught.net.named_parameters() if value.requires_grad}
    assert {name for name in trained if torch.equal(before[name], taught.net.get_parameter(name))} == set()
    assert any(name.startswith("trunk.") for name in trained)


def test_labels_teach_toys_in_thirty_steps(toys: synthetic.Pictures) -> None:
    recipe = replace(
        pretraining.small("supervised", "alexnet"), options=views.Strengths(side=64, area=(0.5, 1.0))
    )
    taught, optimizer = pretraining.build(recipe, 10, torch.ones(bins.COUNT))
    for step in range(30):
        numbers = torch.randperm(100, generator=torch.Generator().manual_seed(step))[:25]
        loss = taught.loss((toys.rgb[numbers], toys.classes[numbers, 0]), torch.Generator().manual_seed(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(loss.detach()) < 1.2  # ln 10 = 2.3 for a net that guesses


@pytest.mark.parametrize(
    ("name", "method", "constants"),
    [
        ("doersch2015", "context", {"patch": 96, "gap": 48, "jitter": 7, "pixelated": 0.33}),
        ("chen2020", "contrast", {"temperature": 0.1, "out": 128}),
        ("zhang2016", "colorize", {"side": 176}),
    ],
)
def test_the_papers_recipes_have_their_constants_and_survive_being_written_down(
    name: str, method: str, constants: dict[str, float]
) -> None:
    recipe = pretraining.RECIPES[name](method, "resnet50")
    assert {key: getattr(recipe.options, key) for key in constants} == constants
    assert pretraining.read(asdict(recipe)) == recipe
    with pytest.raises(ValueError, match=f"{name} is a recipe for {method}"):
        pretraining.RECIPES[name]("supervised", "alexnet")


def test_chen2020_has_the_papers_optimizer() -> None:
    recipe = pretraining.chen2020("contrast", "resnet50")
    assert (recipe.batch, recipe.rate, recipe.decay, recipe.optimizer) == (
        4096,
        0.3 * 4096 / 256,
        1e-6,
        "lars",
    )


def test_a_run_says_what_taught_its_trunk(run: Path) -> None:
    found = learned(run)
    assert (found.facts["method"], found.facts["recipe"]["net"], found.step) == ("contrast", "alexnet", 4)
    assert found.facts["data"]["classes"] == sorted(synthetic.CLASSES[:4])
    assert not torch.equal(
        found.trunk.get_parameter("conv1.conv.weight"), untaught("alexnet").get_parameter("conv1.conv.weight")
    )


def test_probes_have_the_untaught_net_beside_them(run: Path, folder: Path, tmp_path: Path) -> None:
    words = [
        "evaluate",
        "probes",
        "--runs",
        str(run),
        "--photos",
        str(folder / "train"),
        "--judged",
        str(folder / "val"),
    ]
    words += [
        "--side",
        "64",
        "--epochs",
        "2",
        "--seeds",
        "2",
        "--cache",
        str(tmp_path / "cache"),
        "-o",
        str(tmp_path),
    ]
    assert main([*words, "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "probes.json").read_text())
    assert list(found) == ["random alexnet", "contrast (alexnet)"]
    assert {layer: len(seeds) for layer, seeds in found["contrast (alexnet)"].items()} == {
        f"conv{n}": 2 for n in range(1, 6)
    }
    assert (tmp_path / "probes.md").read_text().count("\n") == 4


def test_what_cannot_be_asked_is_refused_in_a_sentence(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = ["--photos", str(folder / "train"), "--judged", str(folder / "val" / synthetic.CLASSES[0])]
    refused = {
        "no recipe is called": [*train("context", folder, tmp_path), "--recipe", "chen2021"],
        "chen2020 is a recipe for contrast": [*train("context", folder, tmp_path), "--recipe", "chen2020"],
        "no trunk is called": [*train("context", folder, tmp_path), "--net", "vgg"],
        "was begun with another": [*train("context", folder, run), "--recipe", "tiny"],
        "what is asked for is a run that trained": [
            "evaluate",
            "cues",
            "--run",
            str(run),
            "-o",
            str(tmp_path),
        ],
        "holds no training run": ["evaluate", "knn", "--runs", str(tmp_path / "none"), *judged],
        "have other classes": ["evaluate", "knn", "--runs", str(run), *judged, "--cache", str(tmp_path)],
    }
    for sentence, words in refused.items():
        assert main(words) == 1
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1, "one line, no traceback"


def test_a_start_that_spares_labels_is_worth_more_than_nothing() -> None:
    scratch = {"labels": [10, 20, 40, 80], "accuracy": [[0.2, 0.4, 0.6, 0.7], [0.2, 0.4, 0.6, 0.7]]}
    pretrained = {"labels": [10, 20, 40], "accuracy": [[0.4, 0.6, 0.9], [0.4, 0.6, 0.9]]}
    worth, verdict = readings.worth(pretrained, scratch)
    assert [one["at_least"] for one in worth] == pytest.approx([1, 1, 1])
    assert [one["at_most"] for one in worth] == [pytest.approx(1), pytest.approx(1), None], "never caught up"
    assert json.loads(json.dumps(worth)) == worth
    assert verdict["outcome"] == "open"


def test_a_curve_that_was_stopped_goes_on_where_it_was(toys: synthetic.Pictures) -> None:
    of = readings.Labeled(toys.rgb.numpy(), toys.classes[:, 0])
    seen = readings.Material(of, of, synthetic.CLASSES).some(40, 20)
    options = transfer.Options(steps=1, batch=4, side=32)
    kept: list[object] = []
    known = {"10 0": 0.5, "10 1": 0.25, "20 0": 0.75}
    curve = readings.of_labels(
        lambda seed: untaught("alexnet", seed), seen, [10, 20], [0, 1], options, known, kept.append
    )
    assert curve["accuracy"][0] == [0.5, 0.75]
    assert curve["accuracy"][1][0] == 0.25
    assert len(kept) == 1, "one point was missing"
