"""A photograph is colored and changed in the engines that other tests do not use: `make test-engines`."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.photo_pages import chroma, gray
from tests.engines.drivers import Engine

pytestmark = pytest.mark.engines

IS_SHOWN = """
  const image = document.getElementById("after");
  return document.readyState === "complete" && Boolean(image?.naturalWidth && document.getElementById("strength").checkVisibility());
"""
SLIDE = """
  const slider = document.getElementById("strength");
  slider.value = arguments[0];
  for (const name of ["input", "change"]) slider.dispatchEvent(new Event(name));
"""
PLACE = """
  scrollTo(0, 0);
  const { left, top, right, bottom } = document.querySelector("#viewer .after").getBoundingClientRect();
  return [(left + right) / 2, top, Math.min(right, innerWidth), Math.min(bottom, innerHeight)].map(Math.round);
"""


def colorfulness(engine: Engine) -> float:
    """Of the colored half of the picture as it stands on the screen, in 8-bit steps."""
    left, top, right, bottom = engine.run(PLACE)
    window = np.asarray(Image.open(io.BytesIO(engine.screenshot())).convert("RGB"))
    return chroma(window[top:bottom, left:right])


def test_a_photograph_is_colored_and_its_colors_are_made_weaker_and_stronger(
    engine: Engine, service: str, tmp_path: Path
) -> None:
    photo = tmp_path / "street.jpg"
    photo.write_bytes(gray())
    engine.go(service)
    engine.type("#photo", str(photo))
    engine.wait_for("return location.pathname.startsWith('/photos/')")
    engine.wait_for(IS_SHOWN)

    def becomes(strength: float, least: float, most: float = 255) -> float:
        """How colorful the picture is once the slider was moved."""
        engine.run(SLIDE, strength)
        give_up = time.monotonic() + 60
        while not least <= (found := colorfulness(engine)) <= most:
            assert time.monotonic() < give_up, f"{found} at {strength}"
            time.sleep(0.2)
        return found

    own = colorfulness(engine)
    assert own > 5
    becomes(0, 0, own / 4)
    becomes(1.5, 1.2 * own)
    assert engine.run("return document.getElementById('said').textContent") == ""
