"""What a net reaches on held-out photographs: its measures, how it is best decoded, and runs that go by them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model import bins, checkpoint
from model.__main__ import main
from model.commands import selection
from model.methods import Method
from model.methods.colorize import Colorize, ColorizeOptions, Regress, view
from model.training import building, runs, session, validation
from model.training import config as configs
from model.training.batches import Batch, evenly, middles
from model.training.cache import Cache
from model.training.validation import Decoding

CPU = torch.device("cpu")
SIDE = 64


class Fixed(nn.Module):
    """Answers what it holds, whatever it sees."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, lightness: Tensor) -> Tensor:
        assert lightness.shape[2:] == (SIDE, SIDE)
        return self.answer


@pytest.fixture(scope="module")
def held(cached: Callable[..., Cache]) -> Cache:
    return cached([(96, 128), (128, 96), (80, 80), (64, 100)])


@pytest.fixture(scope="module")
def truth(held: Cache) -> Tensor:
    """(4, 2, 16, 16) the colors that a net is to answer."""
    return view(middles(evenly([held], 16), SIDE, CPU), ColorizeOptions(exposure=False), torch.Generator())[1]


# Measures


def by_hand(truth_ab: Tensor, answer_ab: Tensor, rebalanced: bool) -> float:
    """The area under the curve of the share of pixels within t, in percent."""
    flat = [ab.movedim(1, -1).reshape(-1, 2).double().numpy() for ab in (truth_ab, answer_ab)]
    error = np.hypot(*(flat[0] - flat[1]).T)
    nearest = bins.nearest(truth_ab).flatten().numpy()
    share = np.bincount(nearest, minlength=bins.COUNT) / len(nearest)
    weight = 1 / np.maximum(share, 1e-6)[nearest] if rebalanced else np.ones(len(nearest))
    curve = [(weight * (error <= t)).sum() / weight.sum() for t in range(151)]
    return 100 * float(np.trapezoid(curve)) / 150


def test_the_area_is_that_under_the_curve(truth: Tensor) -> None:
    answer = truth + torch.randn(truth.shape, generator=torch.Generator().manual_seed(0)) * 30
    tally, gray = validation._Tally(), validation._Tally()
    tally.add(truth, answer)
    gray.add(truth, torch.zeros_like(truth))
    gains = tally.above(gray)
    zeros = torch.zeros_like(truth)
    for gain, rebalanced in ((gains.raw, False), (gains.rebalanced, True)):
        expected = by_hand(truth, answer, rebalanced) - by_hand(truth, zeros, rebalanced)
        assert gain == pytest.approx(expected, abs=1e-3)


def test_a_pixel_covers_the_area_under_its_step() -> None:
    errors = torch.cat([torch.rand(1000) * 200, torch.tensor([0.0, 1.0, 150.0, 150.1, 1e-6])])
    under = np.trapezoid((errors.numpy()[:, None] <= np.arange(151)).astype(float), axis=1)
    np.testing.assert_allclose(validation.area(errors).numpy(), under)


def test_of_regression_a_perfect_answer_gains_what_gray_lacks_and_gray_gains_nothing(
    held: Cache, truth: Tensor
) -> None:
    method = Regress(Fixed(torch.zeros_like(truth)))
    own = method.net
    validate = validation.of_method(method, [held], 16, SIDE, CPU)
    with torch.no_grad():
        gray, perfect = validate(own, 1), validate(Fixed(truth), 1)
    assert (gray["raw_gain"], gray["rebalanced_gain"], gray["score"]) == (0, 0, 0)
    assert perfect["loss"] == 0
    lacking = [100 - by_hand(truth, torch.zeros_like(truth), rebalanced) for rebalanced in (False, True)]
    assert [perfect["raw_gain"], perfect["rebalanced_gain"]] == pytest.approx(lacking, abs=1e-3)
    assert perfect["score"] == pytest.approx(sum(lacking), abs=1e-3)
    assert method.net is own


def test_of_classification_the_rebalanced_answer_is_decoded(held: Cache, truth: Tensor) -> None:
    target, share = bins.encode(truth, 5)
    sure = torch.full((len(truth), bins.COUNT, 16, 16), -20.0).scatter(1, target, share.clamp_min(1e-6).log())
    method = Colorize(Fixed(torch.zeros_like(sure)), torch.ones(bins.COUNT))
    validate = validation.of_method(method, [held], 16, SIDE, CPU)
    with torch.no_grad():
        nothing, right = validate(method.net, 1), validate(Fixed(sure), 1)
    assert nothing["loss"] == pytest.approx(np.log(bins.COUNT), abs=1e-4)
    assert right["loss"] < 2
    assert right["score"] > nothing["score"] + 20


@pytest.mark.parametrize("method", ["context", "supervised"])
def test_of_other_methods_the_loss_is_measured_on_the_net_that_is_asked_about(
    method: str, cached: Callable[..., Cache]
) -> None:
    config = configs.tiny(method, "alexnet-small")
    learner, _ = building.build(config, 2, torch.ones(bins.COUNT))
    other, _ = building.build(config.changed(["seed=1"]), 2, torch.ones(bins.COUNT))
    validate = validation.of_method(learner, [cached([(120, 120)] * 6)], 4, 120, CPU)
    with torch.no_grad():
        own, again, others = validate(learner.net, 1), validate(learner.net, 2), validate(other.net, 1)
    assert own == again
    assert own["score"] == -own["loss"]
    assert own["loss"] != others["loss"]


@pytest.mark.parametrize(("held", "asked", "measured"), [(45, 40, 40), (63, 256, 62), (20, 256, 20)])
def test_as_many_photos_are_measured_as_are_asked_for_or_there_are(
    held: int, asked: int, measured: int, cached: Callable[..., Cache]
) -> None:
    class Counting(Method):
        def __init__(self) -> None:
            self.net = nn.Identity()
            self.seen: list[int] = []

        def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
            self.seen.append(len(batch))
            return torch.zeros(())

    counting = Counting()
    validation.of_method(counting, [cached([(32, 32)] * held)], asked, 32, CPU)(counting.net, 1)
    assert sum(counting.seen) == measured


# Decoding


@pytest.fixture(scope="module")
def muted(held: Cache) -> Cache:
    """Photos that are half gray: colors everywhere lose what they gain in rare bins."""
    half_gray = replace(held, pixels=held.pixels.copy())
    for number in range(len(half_gray)):
        photo = half_gray.photo(number)
        right = photo[:, :, photo.shape[2] // 2 :]
        right[:] = right.mean(0, keepdims=True)
    return half_gray


def of_middles(photos: Cache) -> Tensor:
    return view(middles(evenly([photos], 16), SIDE, CPU), ColorizeOptions(exposure=False), torch.Generator())[
        1
    ]


def gains(
    logits: Tensor, weights: Tensor, truth: Tensor, share: float, temperature: float
) -> tuple[float, float]:
    """Raw and rebalanced AuC above gray's."""
    shift = bins.taken_back(weights, share)[:, None, None]
    answer = bins.annealed_mean(logits + shift, temperature)
    zeros = torch.zeros_like(truth)
    raw, rebalanced = (by_hand(truth, answer, r) - by_hand(truth, zeros, r) for r in (False, True))
    return raw, rebalanced


@pytest.mark.parametrize(
    ("width", "noise", "strength", "any_calm"),
    [(100, 1.3, 60, True), (200, 0.3, 30, False)],
    ids=["some shares better gray", "none betters gray"],
)
def test_the_decoding_is_chosen_by_its_rule(
    width: float, noise: float, strength: float, any_calm: bool, muted: Cache
) -> None:
    """By plain loops; where the share with the best rebalanced AuC is worse than gray, it is not taken."""
    truth, centers = of_middles(muted), bins.centers().float()
    distance = torch.cdist(truth.movedim(1, -1).flatten(0, 2), centers)
    near = -(distance / width).square().view(len(truth), 16, 16, bins.COUNT).movedim(-1, 1)
    weights = (centers.norm(dim=1) / strength).exp()
    chance = torch.randn(near.shape, generator=torch.Generator().manual_seed(1))
    logits = near + noise * chance + weights.log()[:, None, None]

    of_shares = {n / 10: gains(logits, weights, truth, n / 10, 0.5) for n in range(11)}
    calm = {share: rebalanced for share, (raw, rebalanced) in of_shares.items() if raw >= 0}
    assert bool(calm) == any_calm
    share = max(calm or of_shares, key=lambda share: calm.get(share, of_shares[share][0]))
    assert share != max(of_shares, key=lambda share: of_shares[share][1])
    of_temperatures = {of: gains(logits, weights, truth, share, of) for of in (0.38, 0.5, 0.65, 0.8, 1.0)}
    temperature = max(of_temperatures, key=lambda of: sum(of_temperatures[of]))

    decoding, found = validation.choose_decoding(Fixed(logits), weights, [muted], 16, SIDE, CPU)
    assert decoding == Decoding(SIDE, temperature, share)
    assert (found.raw, found.rebalanced) == pytest.approx(of_temperatures[temperature], abs=1e-2)


# Runs


def finetuned(run: Path, *settings: str) -> list[str]:
    words = [
        "train",
        "colorize",
        "--photos",
        "scikit-image",
        "--hold-out",
        "5",
        "--run",
        str(run),
        "--device",
        "cpu",
    ]
    words += [
        "--cache",
        str(run.parent / "cache"),
        "--workers",
        "1",
        "--recipe",
        "finetune",
        "--set",
        "batch=2",
    ]
    return [*words, "sides=64", "last=64", "small=64", *settings]


def test_a_finetuning_that_makes_it_worse_ends_early_with_the_weights_of_its_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_ENOUGH", 1)
    run = tmp_path / "run"
    settings = [
        "lr=0.3",
        "backbone_lr=0.3",
        "ema=0.1",
        "warmup=0",
        "validate_every=1",
        "patience=2",
        "steps=30",
    ]
    assert main(finetuned(run, *settings)) == 0
    said = capsys.readouterr().out
    assert "no step did better than the start on the" in said
    assert "held-out photographs: the start is kept" in said
    assert "the run ends at step 2" in said
    begun, _ = checkpoint.load(checkpoint.locate("lite"), taken_back=0)
    used = runs.averaged(run).state
    started = {name: value for name, value in begun.state_dict().items() if not name.startswith("hints.")}
    assert all(torch.equal(value, used[name]) for name, value in started.items())
    trained = torch.load(run / runs.CHECKPOINT, weights_only=True)["averaged"]
    assert not torch.equal(trained["module.head.weight"], used["head.weight"])
    with (run / "validation.csv").open() as rows:
        found = list(csv.DictReader(rows))
    assert [row["step"] for row in found] == ["0", "1", "2"]
    assert all(float(row["score"]) < float(found[0]["score"]) for row in found[1:])
    card, shipped = (
        selection.card_of(building.load(run), "mine"),
        checkpoint.read_card(checkpoint.locate("lite")),
    )
    for name in ("size", "temperature", "taken_back", "prior", "lam"):
        assert getattr(card, name) == getattr(shipped, name), "it is decoded as before, too"
    before = (run / "log.csv").read_text()
    assert main(finetuned(run, *settings)) == 0
    assert "the start is kept" in capsys.readouterr().out
    assert runs.averaged(run).progress.step == 2
    assert (run / "log.csv").read_text() == before


def test_finetuning_betters_what_it_is_shown_and_chooses_how_it_is_decoded(
    blue: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the recipe's own rates: blue photographs become blue."""
    monkeypatch.setattr(session, "_ENOUGH", 1)
    config = configs.finetune("colorize", "lite").changed(
        ["steps=20", "warmup=2", "validate_every=5", "batch=4", "sides=64", "last=64", "small=64", "age=0"]
    )
    method = session.learn(config, [blue], tmp_path, CPU, [blue])
    assert "did best" in "".join(session.conclude(method, config, [blue], tmp_path, CPU))
    with (tmp_path / "validation.csv").open() as rows:
        scores = [float(row["score"]) for row in csv.DictReader(rows)]
    assert scores[-1] > scores[0] + 0.5
    chosen = json.loads((tmp_path / building.EXPORT).read_text())
    assert building.load(tmp_path).decoding == chosen
    assert selection.card_of(building.load(tmp_path), "mine").size == chosen["size"] == 64


@pytest.mark.parametrize(
    ("heights", "side"), [((96, 96), 64), ((96, 128), 128)], ids=["small ones alone", "large ones too"]
)
def test_photographs_are_measured_and_decoded_at_the_size_that_they_are_trained_at(
    heights: tuple[int, int],
    side: int,
    cached: Callable[..., Cache],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "_ENOUGH", 1)
    photos = cached([(height, 128) for height in heights])
    config = configs.tiny("colorize", "lite").changed(
        ["steps=1", "batch=2", "sides=96", "last=128", "small=64"]
    )
    method = session.learn(config, [photos], tmp_path, CPU, [photos])
    with (tmp_path / "validation.csv").open() as rows:
        [found] = csv.DictReader(rows)
    net = building.load(tmp_path).net
    with torch.no_grad():
        expected = {of: validation.of_method(method, [photos], 2, of, CPU)(net, 1) for of in (64, 128)}
    assert expected[64]["loss"] != pytest.approx(expected[128]["loss"], abs=0.01)
    assert float(found["loss"]) == pytest.approx(expected[side]["loss"], abs=1e-3)
    assert [*session.conclude(method, config, [photos], tmp_path, CPU)]
    assert json.loads((tmp_path / building.EXPORT).read_text())["size"] == side


def test_finetuning_leaves_what_norms_go_by_as_the_start_has_it(tmp_path: Path) -> None:
    """Few photographs alike would pull running statistics to themselves, and the others' colors with them."""
    run = tmp_path / "run"
    assert main(finetuned(run, "steps=2", "warmup=0", "validate_every=0")) == 0
    begun, _ = checkpoint.load(checkpoint.locate("lite"), taken_back=0)
    trained = torch.load(run / runs.CHECKPOINT, weights_only=True)["net"]
    statistics = [name for name in begun.state_dict() if "running_" in name]
    assert len(statistics) > 80
    assert all(torch.equal(begun.state_dict()[name], trained[name]) for name in statistics)
    moved = [name for name, value in begun.named_parameters() if not torch.equal(value, trained[name])]
    assert {"context.0.1.weight", "merge4.mix.0.weight", "head.bias"} <= {*moved}, "scales and shifts learn"
    assert not (run / building.EXPORT).exists(), (
        "by two photographs no decoding is chosen: the start's is kept"
    )


def test_weights_between_are_kept_only_beside_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(finetuned(tmp_path / "run", "keep_best=false")) == 1
    assert "keep_best=true" in capsys.readouterr().err
