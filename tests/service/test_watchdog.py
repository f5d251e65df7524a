"""The watchdog ends the process, even one that hangs outside of Python."""

from __future__ import annotations

import subprocess
import sys
import time

HANG = """
import ctypes
from service.watchdog import Watchdog
watchdog = Watchdog(0.5)
with watchdog.guard():
    pass
with watchdog.guard():
    ctypes.PyDLL(None).sleep({seconds})  # PyDLL keeps the interpreter's lock, as a hung extension may
print("came back")
"""


def run(seconds: int) -> tuple[float, subprocess.CompletedProcess[str]]:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANG.format(seconds=seconds)], capture_output=True, text=True, timeout=60
    )
    return time.monotonic() - start, done


def test_a_call_that_hangs_ends_the_process_and_says_where():
    seconds, done = run(30)
    assert seconds < 10
    assert done.returncode != 0
    assert "came back" not in done.stdout
    assert 'File "<string>", line 8' in done.stderr


def test_what_ends_in_time_is_left_alone():
    _, done = run(0)
    assert (done.returncode, done.stdout.strip()) == (0, "came back")
