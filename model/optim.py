"""Learning-rate schedules."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate at a step: a line up to 1 over `warmup` steps, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
