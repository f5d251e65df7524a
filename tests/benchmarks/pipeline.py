"""The bare pipeline in a loop: image_io.open → Colorizer → image_io.save in one process, nothing around it.

python -m tests.benchmarks.pipeline REQUESTS PHOTO...   prints seconds of each photo and CPU-seconds of all, as JSON

The seconds are those of a net on all cores, which is the least latency; the CPU-seconds those of a second loop on one thread, which
is the least work: threads that wait for each other burn as much again.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from model import image_io
from model.colorizer import Colorizer

WARM_UP = 4


def main(requests: int, paths: list[str]) -> None:
    colorizer = Colorizer.load("lite")
    photos = [Path(path).read_bytes() for path in paths]

    def colorize(index: int, threads: int | None = None) -> None:
        photo = image_io.open(photos[index % len(photos)])
        [logits] = colorizer.infer([colorizer.preprocess(photo)], threads)
        image_io.save(colorizer.postprocess(photo, logits, threads=threads))

    for index in range(WARM_UP):
        colorize(index)
    seconds: list[float] = []
    for index in range(requests):
        start = time.perf_counter()
        colorize(index)
        seconds.append(time.perf_counter() - start)
    colorize(0, threads=1)  # the first such call compiles the net for one core
    before = _cpu_seconds()
    for index in range(requests):
        colorize(index, threads=1)
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu_seconds": _cpu_seconds() - before}))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
