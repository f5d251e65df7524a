"""The stages of one attempt, as its record hears of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from service import metrics
from service.jobs import STAGES, Claim, Jobs
from service.patience import insist


class Stages:
    """Seconds of each stage, told to the job's record as it ends."""

    def __init__(self, jobs: Jobs, claim: Claim) -> None:
        self._jobs = jobs
        self._claim = claim
        self.seconds: dict[str, float] = {}

    @contextmanager
    def next(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
        metrics.STAGE_SECONDS.labels(stage).observe(self.seconds[stage])
        if stage != STAGES[-1]:  # the last one ends with the job, in one step
            following = STAGES[STAGES.index(stage) + 1]
            insist(partial(self._jobs.advance, self._claim, stage, self.seconds[stage], following))
