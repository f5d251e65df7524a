"""Two nets compared without saying which is which: the strips do not show it, the key does, and verdicts are counted by net."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from model import bins, checkpoint
from model.__main__ import main
from model.colorizer import Colorizer
from model.evaluate import blind
from model.evaluate.blind import Entry
from model.image_io import Photo

KEY = [
    Entry(number, f"p/{number}.jpg", ("new", "old") if number % 2 else ("old", "new"))
    for number in range(1, 13)
]
NETS = ["old", "new"]


def test_the_order_is_drawn_for_each_photo_and_comes_from_the_seed() -> None:
    photos = [Path(f"album/{number}.jpg") for number in range(40)]
    key = blind.draw_key(photos, NETS, 3)
    assert key == blind.draw_key(photos, NETS, 3)
    assert key != blind.draw_key(photos, NETS, 4)
    first = sum(entry.order == ("old", "new") for entry in key)
    assert 8 < first < 32
    assert all(sorted(entry.order) == ["new", "old"] for entry in key)
    assert (key[0].photo, key[0].file) == (1, "album/0.jpg")


def test_verdicts_are_counted_by_net_with_a_sign_test() -> None:
    """New is kept alone of photos 1 to 8, old of 9 and 10; of 10 a coin gives 8 or more of one side in 11% of the cases."""
    answers = {number: "a" if number % 2 else "b" for number in range(1, 9)}
    answers |= {9: "b", 10: "a", 11: "both", 12: "neither"}
    counts = blind.count(NETS, KEY, answers)
    assert counts.only == {"old": 2, "new": 8}
    assert (counts.both, counts.neither, counts.photos) == (1, 1, 12)
    assert counts.p_value == pytest.approx(112 / 1024)
    text = blind.as_text(counts, 12)
    for line in ("12 of 12 photographs judged", "new: kept 9, of these 8 alone", "p = 0.109"):
        assert line in text


def test_without_a_difference_between_the_nets_p_is_1() -> None:
    assert blind.count(NETS, KEY, {1: "both", 2: "neither"}).p_value == 1


def test_verdicts_may_have_a_heading_gaps_and_capitals(tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("photo,verdict\n1, A\n2,\n\n3,Both\n")
    assert blind.read_verdicts(tmp_path / "answers.csv", KEY) == {1: "a", 3: "both"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,a\n13,b", "line 2.*number of a photo"),
        ("1", "line 1"),
        ("1,left", "line 1: a verdict is one of a, b, both, neither, not 'left'"),
        ("1,a\n1,b", "line 2: photo 1 has a verdict already"),
        ("photo,verdict\n1,\n", "no verdict yet"),
    ],
)
def test_what_is_no_verdict_is_named_by_its_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        blind.read_verdicts(tmp_path / "answers.csv", KEY)


def test_a_file_of_another_kind_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"nets": {"old": ""}, "photos": {"1": {}}}')
    with pytest.raises(ValueError, match="is no key"):
        blind.read_key(tmp_path / "key.json")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped net with all of a rebalancing taken back, in the same name."""
    path = tmp_path_factory.mktemp("calm") / "lite.safetensors"
    net, card = checkpoint.load(checkpoint.locate("lite"))
    prior = tuple(torch.exp(-bins.centers().norm(dim=1) / 15).tolist())
    checkpoint.save(net, replace(card, prior=prior, lam=0.5, taken_back=1.0), path)
    return path


def test_the_commands_hide_the_order_and_unblind_it(
    calm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    grays = [
        np.asarray(Image.fromarray(getattr(data, name)()).convert("L").resize((300, 200)))
        for name in ("chelsea", "coffee")
    ]
    for number, gray in enumerate(grays):
        Image.fromarray(gray).save(tmp_path / "photos" / f"{number}.png")
    out = tmp_path / "out"
    words = ["evaluate", "blind", "--photos", str(tmp_path / "photos"), "--net", "lite", str(calm)]
    words += ["--height", "200", "--seed", "2", "--device", "cpu", "-o", str(out)]
    assert main(words) == 0
    assert {file.name for file in out.iterdir()} == {"001.jpg", "002.jpg", "key.json", "answers.csv"}
    key = json.loads((out / "key.json").read_text())
    vivid, muted = key["nets"]
    assert vivid != muted, "told apart, though their cards have one name"
    said = capsys.readouterr().out
    assert vivid not in said

    loaded = (checkpoint.load(path) for path in (checkpoint.locate("lite"), calm))
    colorizers = dict(zip((vivid, muted), (Colorizer(*each, "cpu") for each in loaded), strict=True))
    for number, gray in enumerate(grays, 1):
        entry = key["photos"][str(number)]
        assert entry["file"] == f"photos/{number - 1}.png"
        strip = np.asarray(Image.open(out / f"00{number}.jpg")).astype(int)[-200:]
        width = strip.shape[1] // 3
        assert width == round(gray.shape[1] * 200 / gray.shape[0])
        assert np.abs(strip[:, : width - 16, 0] - strip[:, : width - 16, 2]).max() <= 2
        for place, side in enumerate("ab", 1):
            [colored] = colorizers[entry[side]].colorize([Photo(np.stack([gray] * 3, -1), None, "PNG")])
            expected = Image.fromarray(colored.pixels).resize((width, 200), Image.Resampling.LANCZOS)
            shown = strip[:, place * width : (place + 1) * width]
            assert np.abs(shown - np.asarray(expected)).mean() < 3

    assert main(words) == 1
    assert "holds a comparison already" in capsys.readouterr().err
    assert main(["evaluate", "blind-count", str(out)]) == 1
    assert "no verdict yet" in capsys.readouterr().err
    of_muted = ["a" if entry["a"] == muted else "b" for entry in key["photos"].values()]
    (tmp_path / "mine.csv").write_text("".join(f"{n},{side}\n" for n, side in enumerate(of_muted, 1)))
    assert main(["evaluate", "blind-count", str(out), str(tmp_path / "mine.csv")]) == 0
    said = capsys.readouterr().out
    assert f"{muted}: kept 2, of these 2 alone" in said
    assert f"{vivid}: kept 0" in said
