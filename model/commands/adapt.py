"""Adapt a net's batch norms to gray photographs, and show what that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from model import checkpoint
from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate import color, figures
from model.image_io import Photo
from model.training import batch_norm, data, runs
from model.training.commit import commit

_MOST = 128  # photographs, evenly chosen: the net sees each once for each of its norms
_SHOWN = 24


def adapt(sources: Sequence[Path], exclude: Sequence[str], name: str, device: str, run: Path) -> int:
    """Write the adapted weights of the net `name` with a card into `run`, and a sheet of photographs in gray, before and after."""
    if (run / runs.CHECKPOINT).exists():
        raise InputError(f"{run} holds a training run: name another folder by --run")
    photos = data.find(sources, exclude)
    file = checkpoint.locate(name)
    net, _ = checkpoint.load(file, taken_back=0)
    card = checkpoint.read_card(
        file
    )  # as it is: what was taken back of the rebalancing is to be taken back again
    colorizer = Colorizer(net, card, device)
    left_out: dict[str, list[Path]] = {}
    lightness: list[Tensor] = []
    for path in color.evenly(photos, _MOST):
        pixels = data.read_or_fault(path, at_least=4 * card.size)
        if isinstance(pixels, str):
            left_out.setdefault(pixels, []).append(path)
        else:
            seen = torch.from_numpy(colorizer.preprocess(Photo(pixels, None, "PNG")))
            lightness.append(seen[None].to(colorizer.device))
    after = batch_norm.adapt(colorizer.net, lightness)
    count = len(lightness)
    called = run.resolve().name
    note = f"Batch norms adapted to {count} photographs of {', '.join(path.name for path in sources)}."
    card = replace(
        card,
        name=called,
        notes=f"{card.notes} {note}".strip(),
        recipe=dict(card.recipe) | {"adapted_from": card.sha256, "adapted_to": count},
        commit=commit(),
        numbers={},
        # Both were measured on the weights before.
        calibration=None,
        boldness=(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256="",
    )
    out = run / f"{called}.safetensors"
    checkpoint.save(after.cpu(), card, out, torch.float16)
    data.write_names(left_out, run)
    _sheet([Colorizer.load(name, device), Colorizer.load(str(out), device)], photos, run)
    print(
        f"{count} photographs, left out: {data.counted(left_out)}; {out}, and before and after in {run / 'adapted.jpg'}"
    )
    return 0


def _sheet(colorizers: list[Colorizer], photos: list[Path], run: Path) -> None:
    strips = []
    for path in color.evenly(photos, _SHOWN):
        pixels = data.read_or_fault(path, at_least=512)
        if isinstance(pixels, str):
            continue
        pixels = color.center_crop(pixels)
        photo = Photo(pixels, None, "PNG")
        pictures = [color.gray(pixels), *(colorizer.colorize([photo])[0].pixels for colorizer in colorizers)]
        strips.append(figures.Strip(path.name, pictures))
    figures.save(figures.sheet(["gray", "before", "after"], strips), run / "adapted.jpg")
