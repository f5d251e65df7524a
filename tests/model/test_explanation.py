"""What the page "How it works" shows is what `python -m model explain` makes of the net that is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.__main__ import main
from model.distribution import Distribution

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "service/web/static/how"
LECTURE = ROOT / "docs/lecture/lecture.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("how")
    assert main(["explain", "-o", str(out), "--lecture", str(LECTURE), "--device", "cpu"]) == 0
    return out


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


def test_the_page_has_what_the_command_makes(made: Path) -> None:
    names = sorted(path.name for path in made.iterdir())
    assert names == sorted(path.name for path in KEPT.iterdir())
    for name in names:
        if name.endswith(".jpg"):
            assert np.abs(pixels(made / name) - pixels(KEPT / name)).mean() < 1, name
    ours, kept = (Distribution((folder / "sample.distribution").read_bytes()) for folder in (made, KEPT))
    assert ours.header == kept.header
    assert np.abs(ours.annealed() - kept.annealed()).mean() < 0.1
    numbers, shown = (json.loads((folder / "numbers.json").read_text()) for folder in (made, KEPT))
    for key in ("width", "height", "place", "decoding", "shirts", "lecture"):
        assert numbers[key] == shown[key], key
    assert [percent for _, percent in numbers["likely"]] == pytest.approx(
        [percent for _, percent in shown["likely"]], abs=1
    )
    assert [radius for *_, radius in numbers["bins"]] == pytest.approx(
        [radius for *_, radius in shown["bins"]], abs=0.05
    )


def test_the_sample_is_small_and_its_pictures_are_decoded_from_it(made: Path) -> None:
    assert (made / "sample.distribution").stat().st_size <= 300_000
    chroma, steps = {}, {}
    for name in ("gray", "unweighed", "mean", "colored", "likeliest"):
        channels = pixels(made / f"{name}.jpg")
        chroma[name] = float((channels.max(-1) - channels.min(-1)).mean())
        red_over_blue = channels[..., 0] - channels[..., 2]
        steps[name] = float(np.abs(np.diff(red_over_blue, axis=1)).mean())
    assert chroma["gray"] < 2
    assert chroma["gray"] < chroma["unweighed"] < min(chroma["mean"], chroma["colored"], chroma["likeliest"])
    assert steps["mean"] < steps["colored"] < steps["likeliest"], "blotches"


def test_red_and_green_are_one_gray_and_their_mean_is_neither(made: Path) -> None:
    shirts = json.loads((made / "numbers.json").read_text())["shirts"]
    assert (shirts["means"][0], shirts["means"][-1]) == (shirts["green"], shirts["red"])
    red, green, blue = (int(shirts["means"][6][at : at + 2], 16) for at in (1, 3, 5))
    assert red > green > blue, "brown"
