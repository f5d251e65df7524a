"""The real worker with the real net, slowed down in `infer`: there is time to kill it. Run as a program by tests.

python tests/service/slow_worker.py SECONDS
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from model.colorizer import Colorizer
from service import settings, worker
from service.telemetry import set_up_logging


class SlowColorizer(Colorizer):
    """A net that takes its time, except when it is warmed up."""

    pause = 0.0

    def infer(self, lightness: Sequence[Any]) -> list[Any]:
        time.sleep(self.pause)
        self.pause = float(sys.argv[1])
        return super().infer(lightness)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(worker.main(settings.read(), SlowColorizer.load))
