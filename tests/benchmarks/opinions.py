"""What a second opinion takes, through the API of `python -m service`: a changed hint, other pictures, how sure the net is.

One person, who waits: each request says `Prefer: wait`, and begins when the last has ended. First calm, then beside processes that keep
a core busy each. All but the first answers are revisions of a photo that is open, by another hint each time. The CPU of a first answer
with and without alternatives is what `service.budgets.ANOTHER` rests on, that with a second look what `CLOSER` does.
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
from tests.benchmarks.servers import Service, read_metrics

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
    cpu: dict[str, float] = {}
    called = asked_the_net = 0.0
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "state") as server:
        for circumstance, busy in (("calm", 0), ("busy", config.busy)):
            with httpx.Client(base_url=server.url, timeout=120) as api, neighbors(busy):
                for name, took, cpu_ms in _measured(server, api, config):
                    times.setdefault(name, {})[circumstance] = took
                    calls = read_metrics(server.url).get("autochrome_batch_size_count", 0.0)
                    asked_the_net += 0 if "first answer" in name else calls - called
                    called = calls
                    cpu.setdefault(name, cpu_ms)
                    log(f"{name}, {circumstance}: {median(took):.0f} ms, {cpu_ms:.0f} ms of CPU")
    changed = median(times["12 MP: changed hint, size=512"]["calm"])
    checks = (
        Check("a changed hint needs no net", not asked_the_net, f"It was asked {asked_the_net} times."),
    )
    results = {"machine": place, "config": asdict(config), "ms": times, "cpu_ms": cpu}
    text = (
        f"# A second opinion\n\n{machine_line(place)} {config.rounds} requests of a kind, one after the other; {config.busy} processes "
        f"beside where busy. A changed hint at 512 pixels is to take at most {MOST_MS:g} ms, calm: {changed:.0f}, "
        f"{'met' if changed <= MOST_MS else 'missed'}.\n\n{_table(times, cpu)}\n" + checks[0].line + "\n"
    )
    return Report("opinions", results, text, checks)


def _measured(server: Service, api: httpx.Client, config: Config) -> Iterator[tuple[str, list[float], float]]:
    """Milliseconds of each kind of request, after one that does not count; and those of CPU that one takes in all processes."""

    def timed(rounds: int, ask: Ask) -> tuple[list[float], float]:
        before = sum(server.cpu_seconds().values())
        took = _times(rounds, ask)
        return took, (sum(server.cpu_seconds().values()) - before) * 1000 / (rounds + 1)

    few, numbers = max(3, config.rounds // 4), count()
    for name, size in SIDES.items():
        photo = _photo(size)
        original = _send(api, photo)
        yield f"{name}: first answer", *timed(few, lambda: _send(api, photo))  # noqa: B023 (called at once)
        for option, value in (("alternatives", "3"), ("detail", "on")):
            yield (
                f"{name}: first answer, {option}={value}",
                *timed(few, lambda: _send(api, photo, **{option: value})),  # noqa: B023 (called at once)
            )
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

        yield f"{name}: changed hint, size=512", *timed(config.rounds, asked(size=512))
        yield f"{name}: changed hint, full size", *timed(few, asked())
        for what, options in _OPINIONS.items():
            yield f"{name}: {what}, size=512", *timed(few, asked(size=512, **options))


_OPINIONS: dict[str, dict[str, object]] = {
    "alternatives=3": {"alternatives": 3},
    "confidence": {"artifacts": ["confidence"]},
    "distribution": {"artifacts": ["distribution"]},
    "suggestions": {"artifacts": ["suggestions"]},
}
_NOW = {"Prefer": "wait=60", "Accept": "image/*"}


def _send(api: httpx.Client, photo: bytes, **options: str) -> httpx.Response:
    return api.post("/v1/colorizations", files={"photo": photo}, data=options, headers=_NOW)


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


def _table(times: dict[str, dict[str, list[float]]], cpu: dict[str, float]) -> str:
    rows: list[list[Any]] = [
        [
            name,
            round(cpu[name]),
            *(round(number(each[when])) for when in ("calm", "busy") for number in (median, _p90)),
        ]
        for name, each in times.items()
    ]
    return table(["ms", "CPU, of all processes", "calm: median", "p90", "busy: median", "p90"], rows)


def _p90(values: list[float]) -> float:
    return percentile(values, 0.9)
