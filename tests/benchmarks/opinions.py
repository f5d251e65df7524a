"""What a second opinion takes, through the API of `python -m service`: a changed hint, other pictures, how sure the net is.

One person, who waits: each request says `Prefer: wait`, and begins when the last has ended. First calm, then beside processes that keep
a core busy each. All but the first answers are revisions of a photo that is open, by another hint each time.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
from PIL import Image
from skimage import data

from tests.benchmarks.report import (
    Check,
    Log,
    Report,
    machine,
    machine_line,
    median,
    neighbors,
    percentile,
    table,
)
from tests.benchmarks.servers import Service

SIDES = {"12 MP": (4000, 3000), "2 MP": (1600, 1250)}
MOST_MS = 150.0
"""Of a changed hint, median, calm."""
COLORS = ("#8a2f2b", "#2f5a8a", "#808080", "#6b7a3a", "#c9a27a")


@dataclass(frozen=True, slots=True)
class Config:
    """`rounds` of each request; a quarter as many of those that take a second. `busy` processes beside."""

    rounds: int = 20
    busy: int = 2


QUICK = Config(rounds=4)

Ask = Callable[[], httpx.Response]


def run(config: Config, log: Log) -> Report:
    place = machine()
    times: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "state") as server:
        for circumstance, busy in (("calm", 0), ("busy", config.busy)):
            with httpx.Client(base_url=server.url, timeout=120) as api, neighbors(busy):
                for name, took in _measured(api, config):
                    times.setdefault(name, {})[circumstance] = took
                    log(f"{name}, {circumstance}: {median(took):.0f} ms")
    changed = median(times["12 MP: changed hint, size=512"]["calm"])
    refused = sum(1 for each in times.values() for took in each.values() if not took)
    checks = (Check("all were answered", not refused, f"{refused} kinds of requests were not."),)
    results = {"machine": place, "config": asdict(config), "ms": times}
    text = (
        f"# A second opinion\n\n{machine_line(place)} {config.rounds} requests of a kind, one after the other; {config.busy} processes "
        f"beside where busy. A changed hint at 512 pixels is to take at most {MOST_MS:g} ms, calm: {changed:.0f}, "
        f"{'met' if changed <= MOST_MS else 'missed'}.\n\n{_table(times)}\n" + checks[0].line + "\n"
    )
    return Report("opinions", results, text, checks)


def _measured(api: httpx.Client, config: Config) -> Iterator[tuple[str, list[float]]]:
    """Milliseconds of each kind of request, after one that does not count."""
    few, numbers = max(3, config.rounds // 4), count()
    for name, size in SIDES.items():
        photo = _photo(size)
        yield f"{name}: first answer", _times(few, lambda: _send(api, photo))  # noqa: B023 (called at once)
        original = _send(api, photo)
        body = {
            "revise": original.headers["location"].rpartition("/")[2],
            "secret": original.headers["autochrome-secret"],
        }

        def asked(**options: object) -> Ask:
            return lambda: api.post(
                "/v1/colorizations",
                json={**body, "hints": [_hint(next(numbers))], **options},  # noqa: B023 (called at once)
                headers=_NOW,
            )

        yield f"{name}: changed hint, size=512", _times(config.rounds, asked(size=512))
        yield f"{name}: changed hint, full size", _times(few, asked())
        for what, options in _OPINIONS.items():
            yield f"{name}: {what}, size=512", _times(few, asked(size=512, **options))


_OPINIONS: dict[str, dict[str, object]] = {
    "alternatives=3": {"alternatives": 3},
    "confidence": {"artifacts": ["confidence"]},
    "distribution": {"artifacts": ["distribution"]},
    "suggestions": {"artifacts": ["suggestions"]},
}
_NOW = {"Prefer": "wait=60", "Accept": "image/*"}


def _send(api: httpx.Client, photo: bytes) -> httpx.Response:
    return api.post("/v1/colorizations", files={"photo": photo}, headers=_NOW)


def _times(rounds: int, ask: Ask) -> list[float]:
    took = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        answer = ask()
        took.append((time.perf_counter() - start) * 1000)
        if answer.status_code != 200 or not answer.headers["content-type"].startswith("image/"):
            raise RuntimeError(f"{answer.status_code}: {answer.text[:400]}")
    return took[1:]


def _hint(number: int) -> dict[str, object]:
    """Another place each time."""
    x, y = (number * 0.618) % 1, (number * 0.382) % 1
    return {"x": round(x, 3), "y": round(y, 3), "color": COLORS[number % len(COLORS)], "radius": 0.05}


def _photo(size: tuple[int, int]) -> bytes:
    """A photograph in gray with a film's grain, as JPEG."""
    picture = Image.fromarray(cast(Any, data).astronaut()).convert("L").crop((0, 0, 512, 384))
    large = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 4, large.shape)
    file = io.BytesIO()
    Image.fromarray((large + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _table(times: dict[str, dict[str, list[float]]]) -> str:
    rows: list[list[Any]] = [
        [name, *(round(number(each[when])) for when in ("calm", "busy") for number in (median, _p90))]
        for name, each in times.items()
    ]
    return table(["ms", "calm: median", "p90", "busy: median", "p90"], rows)


def _p90(values: list[float]) -> float:
    return percentile(values, 0.9)
