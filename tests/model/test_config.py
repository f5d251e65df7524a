"""Configurations and what is built of them: any method on any backbone, the papers' constants, fields set in words."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from model import bins
from model.__main__ import main
from model.commands import backbones
from model.errors import InputError
from model.evaluate import efficiency, finetuning
from model.evaluate.probes import Labeled, Split, untrained
from model.experiments import synthetic
from model.experiments.synthetic import Switches
from model.methods import colorize, context, simclr
from model.training import augment, building, session
from model.training import config as configs
from model.training.batches import Batch

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
    run = tmp_path_factory.mktemp("runs") / "simclr"
    assert main([*train("simclr", folder, run), "--recipe", "tiny"]) == 0
    return run


def train(method: str, folder: Path, run: Path) -> list[str]:
    words = ["train", method, "--photos", str(folder / "train"), "--run", str(run), "--device", "cpu"]
    return [*words, "--net", "alexnet", "--cache", str(run.parent / "cache")]


def batch(toys: synthetic.Pictures, numbers: Tensor) -> Batch:
    return Batch(toys.rgb[numbers], toys.classes[numbers, 0], numbers)


def asked_of(net: nn.Module) -> set[str]:
    """The parameters that the loss would have otherwise."""
    return {name for name, value in net.named_parameters() if value.grad is not None and value.grad.any()}


def test_each_method_has_a_recipe_by_default() -> None:
    for method in configs.METHODS:
        assert session.configured(method).method == method


@pytest.mark.parametrize("net", ["alexnet", "resnet18"])
@pytest.mark.parametrize("method", [method for method in configs.METHODS if method != "regress"])
def test_any_method_trains_all_of_any_net(method: str, net: str, toys: synthetic.Pictures) -> None:
    config = configs.tiny(method, net)
    if method == "context":
        config = replace(config, options=replace(config.options, patch=24, gap=8, jitter=2, hidden=32))
    elif isinstance(config.options, augment.Strengths):
        config = replace(config, options=augment.Strengths(side=64))
    learner, optimizer = building.build(config, 10, torch.ones(bins.COUNT))
    before = {name: value.clone() for name, value in learner.net.named_parameters()}
    asked: set[str] = set()
    for step in range(
        2
    ):  # the last norms of residual blocks begin at zero, and hide what is beneath for a step
        learner.loss(batch(toys, torch.arange(4)), torch.Generator().manual_seed(step)).backward()
        asked |= asked_of(learner.net)
        optimizer.step()
        optimizer.zero_grad()
    trained = {name for name, value in learner.net.named_parameters() if value.requires_grad}
    assert {name for name in trained if torch.equal(before[name], learner.net.get_parameter(name))} == set()
    assert asked == trained, "weight decay alone would move them too"
    assert any(name.startswith("backbone.") for name in trained)


def test_labels_train_on_toys_in_thirty_steps(toys: synthetic.Pictures) -> None:
    config = replace(
        configs.small("supervised", "alexnet"), options=augment.Strengths(side=64, area=(0.5, 1.0))
    )
    learner, optimizer = building.build(config, 10, torch.ones(bins.COUNT))
    for step in range(30):
        numbers = torch.randperm(100, generator=torch.Generator().manual_seed(step))[:25]
        loss = learner.loss(batch(toys, numbers), torch.Generator().manual_seed(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(loss.detach()) < 1.2  # ln 10 = 2.3 for a net that guesses


@pytest.mark.parametrize(
    ("name", "method", "constants"),
    [
        ("doersch2015", "context", {"patch": 96, "gap": 48, "jitter": 7, "pixelated": 0.33}),
        ("chen2020", "simclr", {"temperature": 0.1, "out": 128}),
        ("zhang2016", "colorize", {"lam": 0.5, "neighbors": 10, "exposure": False, "average": False}),
    ],
)
def test_the_papers_recipes_have_their_constants_and_survive_being_written_down(
    name: str, method: str, constants: dict[str, float]
) -> None:
    config = configs.CONFIGS[name](method, "resnet50")
    assert {key: getattr(config.options, key) for key in constants} == constants
    assert configs.read(asdict(config)) == config
    if method == "colorize":
        assert isinstance(config.options, colorize.ColorizeOptions)
        assert config.options.crops is not None
        assert config.options.crops.side == 176
    with pytest.raises(ValueError, match=f"{name} is a configuration for {method}"):
        configs.CONFIGS[name]("supervised", "alexnet")


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("small", method) for method in configs.METHODS if method != "regress"),
        ("doersch2015", "context"),
        ("zhang2016", "colorize"),
        ("chen2020", "simclr"),
    ],
)
def test_a_run_has_a_curve_of_what_it_reaches_on_other_photographs_at_under_two_percent_of_its_time(
    name: str, method: str
) -> None:
    config = configs.CONFIGS[name](method, "alexnet")
    assert 10 <= config.steps // config.validate_every <= 100
    # A photo that is validated has no backward pass, which takes twice as long as the forward one.
    assert config.validated / 3 < 0.02 * config.validate_every * config.batch


def test_zhang2016_trains_all_of_the_papers_net(toys: synthetic.Pictures) -> None:
    config = replace(
        configs.zhang2016("colorize", "eccv16"), options=colorize.zhang2016(augment.Strengths(side=32))
    )
    learner, optimizer = building.build(config, 1, torch.ones(bins.COUNT))
    before = {name: value.clone() for name, value in learner.net.named_parameters() if value.requires_grad}
    learner.loss(batch(toys, torch.arange(2)), torch.Generator().manual_seed(0)).backward()
    assert asked_of(learner.net) == before.keys()
    optimizer.step()
    assert len(before) > 50
    assert not [name for name, value in before.items() if torch.equal(value, learner.net.get_parameter(name))]


def test_chen2020_has_the_papers_optimizer() -> None:
    config = configs.chen2020("simclr", "resnet50")
    assert (config.batch, config.lr, config.weight_decay, config.optimizer) == (
        4096,
        0.3 * 4096 / 256,
        1e-6,
        "lars",
    )


def test_a_run_says_what_trained_its_backbone(run: Path) -> None:
    found = building.load(run)
    assert (found.metadata["method"], found.config.net, found.step) == ("simclr", "alexnet", 4)
    assert found.metadata["data"]["photos"] == 29  # and 3 held out
    assert (found.weights, found.decoding, found.best_step) == (None, None, -1)
    assert not torch.equal(
        found.backbone.get_parameter("conv1.conv.weight"),
        untrained("alexnet").get_parameter("conv1.conv.weight"),
    )


def test_probes_have_untrained_nets_beside_them_that_see_what_each_run_sees(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "simclr"
    assert main([*train("colorize", folder, other), "--recipe", "tiny"]) == 0
    words = [
        "evaluate",
        "probes",
        "--runs",
        str(run),
        str(other),
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
        "--limit-photos",
        "16",
        "--limit-judged",
        "6",
        "--cache",
        str(tmp_path / "cache"),
        "-o",
        str(tmp_path),
    ]
    assert main([*words, "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "probes.json").read_text())
    simclr, coloring = f"{run.parent.name}/simclr (alexnet)", "other/simclr (alexnet)"
    assert list(found) == ["random alexnet", "random alexnet, gray", simclr, coloring]
    for name, control in ((simclr, "random alexnet"), (coloring, "random alexnet, gray")):
        of = found[name]
        assert {layer: len(seeds) for layer, seeds in of["layers"].items()} == {
            f"conv{n}": 2 for n in range(1, 6)
        }
        best = of["layers"][of["best"]]
        assert sum(best) == pytest.approx(max(map(sum, of["layers"].values())))
        assert all(6 * value == pytest.approx(round(6 * value)) for value in best), "six were judged"
        assert of["accuracy"]["value"] == pytest.approx(sum(best) / 2, abs=1e-4)
        assert of["control"] == control
        assert of["above"]["value"] == pytest.approx(
            of["accuracy"]["value"] - found[control]["accuracy"]["value"], abs=2e-4
        )
        assert of["above"]["low"] <= of["above"]["value"] <= of["above"]["high"]
        assert len(found[control]["layers"]["conv1"]) == 3
    assert (tmp_path / "probes.md").read_text().count("\n") == 6
    make = backbones._maker("random alexnet, gray", untrained("alexnet", channels=1))
    draws = [make(seed).get_parameter("conv1.conv.weight") for seed in (0, 1)]
    assert draws[0].shape[1] == 1, "a draw sees as little"
    assert not torch.equal(*draws)


def test_what_cannot_be_asked_is_refused_in_a_sentence(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = ["--photos", str(folder / "train"), "--judged", str(folder / "val" / synthetic.CLASSES[0])]
    refused = {
        "no recipe is called": [*train("context", folder, tmp_path), "--recipe", "chen2021"],
        "chen2020 is a configuration for simclr": [
            *train("context", folder, tmp_path),
            "--recipe",
            "chen2020",
        ],
        "no backbone is called": [*train("context", folder, tmp_path), "--net", "vgg"],
        "was begun with another": [*train("context", folder, run), "--recipe", "tiny"],
        "what is asked for is a run that trained": [
            "evaluate",
            "cues",
            "--run",
            str(run),
            "-o",
            str(tmp_path),
        ],
        "nothing to transfer to": ["evaluate", "transfer", "--runs", str(run)],
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
    worth, verdict = efficiency.worth(pretrained, scratch)
    assert [one["at_least"] for one in worth] == pytest.approx([1, 1, 1])
    assert [one["at_most"] for one in worth] == [pytest.approx(1), pytest.approx(1), None], "never caught up"
    assert json.loads(json.dumps(worth)) == worth
    assert verdict["outcome"] == "open"


def test_a_curve_that_was_stopped_goes_on_where_it_was(toys: synthetic.Pictures) -> None:
    of = Labeled(toys.rgb.numpy(), toys.classes[:, 0])
    seen = Split(of, of, synthetic.CLASSES).some(40, 20)
    options = finetuning.Options(steps=1, batch=4, side=32)
    kept: list[object] = []
    known = {"10 0": 0.5, "10 1": 0.25, "20 0": 0.75}
    curve = efficiency.curve(
        lambda seed: untrained("alexnet", seed), seen, [10, 20], [0, 1], options, known, kept.append
    )
    assert curve["accuracy"][0] == [0.5, 0.75]
    assert curve["accuracy"][1][0] == 0.25
    assert len(kept) == 1, "one point was missing"


# Fields, set in words


def test_fields_of_the_configuration_its_crops_shape_and_options_are_set_by_name() -> None:
    words = ["lr=5e-4", "sides=64,96", "weights=1,0.5", "age=0.5", "aspect=2", "keep_best=true", "start=lite"]
    config = configs.lite("colorize", "lite").changed([*words, "backbone_lr=1e-5", "optimizer=sgd"])
    assert config.crops is not None
    assert isinstance(config.options, colorize.ColorizeOptions)
    assert (config.lr, config.backbone_lr, config.optimizer) == (5e-4, 1e-5, "sgd")
    assert (config.crops.sides, config.crops.weights) == ((64, 96), (1.0, 0.5))
    assert (config.options.age, config.shape.aspect) == (0.5, 2.0)
    assert (config.keep_best, config.start) == (True, "lite")
    untouched = configs.lite("colorize", "lite")
    assert config.steps == untouched.steps
    assert config.options.page == untouched.options.page  # type: ignore[union-attr]


def test_a_field_that_is_none_by_default_takes_a_number() -> None:
    assert configs.tiny("context", "alexnet").backbone_lr is None
    assert configs.tiny("context", "alexnet").changed(["backbone_lr=0.5"]).backbone_lr == 0.5


def test_what_is_within_options_is_set_by_a_path_so_that_the_projections_run_can_be_trained() -> None:
    steps = "crop and flip,color,rotate,noise,sobel"
    words = [f"first={steps}", f"second={steps}"]
    words += ["strengths.rotated=.75", "strengths.noised=.5", "strengths.sobeled=.5"]
    small = configs.small("simclr", "alexnet")
    assert isinstance(small.options, simclr.SimCLROptions)
    assert small.changed(words).options == simclr.projection_probe(small.options)
    coloring = configs.small("colorize", "alexnet").changed(["crops.side=64", "crops.area=.5,1"])
    assert isinstance(coloring.options, colorize.ColorizeOptions)
    assert coloring.options.crops == augment.Strengths(side=64, area=(0.5, 1.0))


def test_a_field_that_is_none_or_empty_takes_what_it_is_for() -> None:
    simple = configs.small("simclr", "alexnet").changed(["hidden=64", "shared=crop"])
    assert isinstance(simple.options, simclr.SimCLROptions)
    assert (repr(simple.options.hidden), simple.options.shared) == ("64", ("crop",))
    patches = configs.small("context", "alexnet").changed(["pixels=1,2", "pixels=150000,450000"])
    assert isinstance(patches.options, context.ContextOptions)
    assert patches.options.pixels == (150_000, 450_000)
    for method, setting, words in (
        ("context", "pixels=150000", "2 values"),
        ("context", "colors=projct", "colors is 'projct': choose one of keep, drop, project"),
        ("simclr", "strengths.rotated=75", "rotated is 75.0, and must lie in 0…1"),
        ("simclr", "strengths.speed=9", "there is no 'strengths.speed' to set: .*strengths.rotated"),
        ("simclr", "strengths=9", "there is no 'strengths' to set"),
    ):
        with pytest.raises(InputError, match=words):
            configs.small(method, "alexnet").changed([setting])


@pytest.mark.parametrize("name", configs.CONFIGS)
def test_every_configuration_survives_being_written_down_as_json(name: str) -> None:
    methods = {"doersch2015": "context", "chen2020": "simclr"}
    backbones = {"small", "doersch2015", "zhang2016", "chen2020"}
    config = configs.CONFIGS[name](methods.get(name, "colorize"), "resnet18" if name in backbones else "lite")
    config = replace(config, earlier=(1, 2), steps=max(config.steps, 3))
    assert configs.read(asdict(config)) == config
    assert configs.read(json.loads(json.dumps(asdict(config)))) == config
    assert config.ends == (1, 2, config.steps)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("lr=-1", "lr is -1.0, and must be above 0"),
        ("lr=nan", "lr is nan"),
        ("backbone_lr=0", "backbone_lr is 0.0"),
        ("age=2", "age is 2.0, and must lie in 0…1"),
        ("prior_share=2", "prior_share is 2.0"),
        ("batch=0", "batch is 0, and must be 1 or more"),
        ("validated=0", "validated is 0, and must be 1 or more"),
        ("clip=-1", "clip is -1.0, and must not be negative"),
        ("seed=-1", "seed is -1, and must lie in 0…4294967295"),
        ("enlarged=0", "enlarged is 0.0, and must be above 0"),
        ("batch=many", "batch=many"),
        ("keep_best=perhaps", "keep_best=perhaps"),
        ("sides=16", "crops must have 32 pixels or more"),
        ("balance=1.5", "balance are shares"),
        ("weights=0,0", "weights say how often each source is seen"),
        ("speed=9", "there is no 'speed' to set: steps, "),
        ("earlier=3", "there is no 'earlier' to set"),
        ("optimizer=lion", "no optimizer is called 'lion'"),
        ("momentum=1", "momentum is 1"),
        ("accumulate=5", "a batch of 4 has no 5 parts"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words_before_a_run_is_begun(
    setting: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = [
        "train",
        "colorize",
        "--photos",
        "scikit-image",
        "--run",
        str(run),
        "--recipe",
        "tiny",
        "--device",
        "cpu",
    ]
    assert main([*arguments, "--cache", str(tmp_path / "cache"), "--set", setting]) == 1
    said = capsys.readouterr().err
    assert said.startswith("python -m model: ")
    assert words in said
    assert said.count("\n") == 1
    assert not run.exists()


def test_a_value_can_be_left_out_and_what_is_neither_true_nor_false_is_said() -> None:
    config = configs.lite("colorize", "lite")
    assert config.backbone_lr
    assert config.changed(["backbone_lr=none"]).backbone_lr is None
    with pytest.raises(InputError, match="keep_best=yes: true or false is wanted"):
        config.changed(["keep_best=yes"])
