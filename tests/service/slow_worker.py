"""The real worker with the real net, slowed down in `infer`: there is time to kill it. Run as a program by tests.

python tests/service/slow_worker.py SECONDS | FILE | lost | kills

It takes so many seconds, or until there is such a file; or the device is lost; or the process ends over a dark photo.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.colorizer import Colorizer
from service import settings, worker
from service.observability import set_up_logging


class SlowColorizer(Colorizer):
    """A net that takes its time over whatever there is to see, which excludes the gray square of the warm-up."""

    def infer(self, lightness: Sequence[Any], threads: int | None = None) -> list[Any]:
        if sys.argv[1] == "kills":
            if any(one.mean() < 20 for one in lightness):
                os._exit(9)
        elif any(one.std() > 0.01 for one in lightness):
            _wait(sys.argv[1])
        return super().infer(lightness, threads)


def _wait(how: str) -> None:
    if how == "lost":
        import torch  # takes a second of each start

        raise torch.AcceleratorError("CUDA error: device-side assert triggered")
    if how.replace(".", "").isdigit():
        time.sleep(float(how))
    else:
        while not Path(how).exists():
            time.sleep(0.05)


if __name__ == "__main__":
    set_up_logging()
    worker.TELL_EVERY = 0  # tests look at the stage
    sys.exit(worker.main(settings.read(), SlowColorizer.load))
