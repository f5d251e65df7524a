"""What decoding does: the same numbers as `evaluate color` where the decoding is the same, and the shares that a run holds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import nn

from model import bins, checkpoint
from model.__main__ import main
from model.colorizer import Colorizer
from model.commands import selection
from model.evaluate import color, decoding
from model.evaluate.decoding import Axes, Decoder
from model.image_io import Photo
from model.nets.lite import Lite
from model.training import building, data
from model.training import config as configs
from model.training.logging import Progress
from model.training.validation import Decoding

PHOTOS = data.find([Path("scikit-image")])


@pytest.fixture(scope="module")
def lite() -> Colorizer:
    return Colorizer.load("lite", "cpu")


@pytest.fixture(scope="module")
def swept(lite: Colorizer) -> decoding.Sweep:
    own = decoding.own(lite)
    return decoding.sweep(lite, PHOTOS, Axes([128], [1.0, 0.0], [own.taken_back]))


def test_the_cards_decoding_scores_as_in_evaluate_color(lite: Colorizer, swept: decoding.Sweep) -> None:
    tallies = {name: color.Tally() for name in ("gray", lite.name, "truth")}
    for truth, by_row in color.colorized([lite], PHOTOS):
        for name, colored in by_row.items():
            tallies[name].add(color.Picture(truth), color.Picture(colored))
    found = {"gray": swept.gray, lite.name: swept.scores[swept.own], "truth": swept.truth}
    for name, tally in tallies.items():
        expected = tally.score()
        for measure in decoding.METRICS:
            assert getattr(found[name], measure) == pytest.approx(getattr(expected, measure), abs=0.01)


def test_each_value_is_tried_and_the_cards_beside(swept: decoding.Sweep) -> None:
    own = swept.own
    assert swept.along("size") == [replace(own, size=128), own]
    assert [d.temperature for d in swept.along("temperature")] == [0, own.temperature, 1]
    assert len({score.raw_auc for score in swept.scores.values()}) == 4, "each decoding differs"


def test_the_mean_is_calmer_than_the_mode(swept: decoding.Sweep) -> None:
    mode, _, mean = (swept.scores[d] for d in swept.along("temperature"))
    assert mean.colorfulness < mode.colorfulness
    assert mean.psnr > mode.psnr


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """The shipped one as it was trained: the colorizer's is folded and frozen."""
    return checkpoint.load(checkpoint.locate("lite"))[0]


@pytest.fixture(scope="module")
def run(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run's folder, as the trainer leaves it: of the shipped net, and a prior in which gray is common."""
    folder = tmp_path_factory.mktemp("run")
    metadata = {
        "config": asdict(configs.lite("colorize", "lite")),
        "data": {
            "photos": 4,
            "fingerprint": "f",
            "prior": torch.exp(-bins.centers().norm(dim=1) / 15).tolist(),
        },
        "code": {"commit": "abc1234", "torch": "2"},
    }
    saved = {
        "averaged": torch.optim.swa_utils.AveragedModel(net).state_dict(),
        "progress": asdict(Progress(8, 32, 1.5)),
        "metadata": metadata,
    }
    torch.save(saved, folder / "checkpoint.pt")
    return folder


def weights_of(run: Path) -> torch.Tensor:
    weights = building.load(run).weights
    assert weights is not None
    return weights


def test_nothing_taken_back_is_the_runs_own_answer_and_all_of_it_the_exports(
    run: Path, lite: Colorizer, net: nn.Module
) -> None:
    """The run's net is the shipped one as it is, so that the shipped card's answer is what share 0 must give."""
    colorizer = selection.subject("lite", run, "cpu")
    own = decoding.own(colorizer)
    shares = [replace(own, taken_back=share) for share in (0.0, own.taken_back, 1.0)]
    truth = skimage.data.chelsea()
    answers = Decoder(colorizer, shares).colorize(truth)
    [plain] = lite.colorize([Photo(truth, None, "PNG")])
    assert np.abs(answers[shares[0]].astype(int) - plain.pixels).max() <= 1
    for share in shares[1:]:
        exported = Lite()
        exported.load_state_dict(net.state_dict())
        with torch.no_grad():
            assert exported.head.bias is not None
            exported.head.bias.add_(bins.taken_back(weights_of(run), share.taken_back))
        [calmer] = Colorizer(exported, lite.card, "cpu").colorize([Photo(truth, None, "PNG")])
        assert np.abs(answers[share].astype(int) - calmer.pixels).max() <= 1
        assert np.abs(plain.pixels.astype(int) - calmer.pixels).max() > 5


def test_the_command_sweeps_a_run_and_writes_tables_and_figures(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cat = tmp_path / "cat.png"
    Image.fromarray(skimage.data.chelsea()).save(cat)
    words = ["evaluate", "decoding", "--photos", str(cat), "--run", str(run), "--device", "cpu"]
    words += [
        "--sizes",
        "128",
        "--temperatures",
        "1",
        "0",
        "--take-back",
        "0",
        "1",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "decoding.json").read_text())
    tried = {(d["size"], d["temperature"], d["taken_back"]) for d in written["decodings"]}
    card = checkpoint.read_card(checkpoint.locate("lite"))
    size, own, share = card.size, card.temperature, card.taken_back
    assert tried == {(128, own, share), *((size, t, each) for t in (1, own, 0) for each in (0, share, 1))}
    for heading in (
        "| size |",
        "| temperature | raw",
        "| share taken back |",
        f"| **{own:g}** |",
        "1 taken back |",
        "| exact |",
    ):
        assert heading in said
    with Image.open(tmp_path / "out" / "strips.jpg") as strips:
        assert strips.width == 4 * 128  # gray, T = 1, T = 0, truth
    with Image.open(tmp_path / "out" / "curves.png") as curves:
        assert np.asarray(curves.convert("L")).std() > 5


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--sizes", "200"], "multiples of 32, not 200"),
        (["--temperatures", "-1"], "must lie in 0…1"),
        (["--take-back", "1.5"], "must lie in 0…1"),
        (["--only", "*.tiff"], "no photograph"),
    ],
)
def test_what_cannot_be_tried_is_said(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "decoding", "--photos", "scikit-image", "--device", "cpu", "-o", str(tmp_path)]
    assert main([*command, *words]) == 1
    assert reason in capsys.readouterr().err


def test_a_net_whose_card_has_no_prior_has_one_share(
    net: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = checkpoint.read_card(checkpoint.locate("lite"))
    old = tmp_path / "old.safetensors"
    checkpoint.save(net, replace(card, prior=(), taken_back=0.0, sha256=""), old)
    words = ["evaluate", "decoding", "--photos", "scikit-image", "--net", str(old), "-o", str(tmp_path)]
    assert main([*words, "--device", "cpu", "--take-back", "0.5"]) == 1
    assert "whose card has the prior" in capsys.readouterr().err


def test_a_net_whose_card_has_a_prior_varies_its_share_as_its_run_does(run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "mine.safetensors"
    words = ["weights", "export", str(run), "-o", str(exported), "--terms", "t", "--data", "d"]
    assert main(words) == 0
    ours, theirs = (
        Colorizer.load(str(exported), "cpu"),
        selection.subject("lite", run, "cpu"),
    )
    own = decoding.own(ours)
    card = checkpoint.read_card(checkpoint.locate("lite"))
    assert own == decoding.own(theirs) == Decoding(card.size, card.temperature, card.taken_back)
    shares = [replace(own, taken_back=share) for share in (0.0, own.taken_back, 1.0)]
    truth = skimage.data.chelsea()
    of_file, of_run = (Decoder(each, shares).colorize(truth) for each in (ours, theirs))
    for share in shares:
        assert np.abs(of_file[share].astype(int) - of_run[share]).max() <= 2
    assert np.abs(of_file[shares[0]].astype(int) - of_file[shares[2]]).max() > 5


def test_a_decoding_is_what_the_card_says(lite: Colorizer) -> None:
    assert decoding.own(lite) == Decoding(lite.card.size, lite.card.temperature, lite.card.share)
