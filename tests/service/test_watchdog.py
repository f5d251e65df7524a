"""The watchdog ends the process, even one that hangs outside of Python."""

from __future__ import annotations

import subprocess
import sys
import time

HANG = """
import ctypes
from service.watchdog import Watchdog
watchdog = Watchdog({deadline})
with watchdog.guard():
    pass
with watchdog.guard():
    ctypes.PyDLL(None).sleep({seconds})  # PyDLL keeps the interpreter's lock, as a hung extension may
print("came back")
"""


def run(seconds: int, deadline: float) -> tuple[float, subprocess.CompletedProcess[str]]:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANG.format(seconds=seconds, deadline=deadline)],
        capture_output=True,
        text=True,
        timeout=90,
    )
    return time.monotonic() - start, done


def test_a_call_that_hangs_ends_the_process_and_says_where():
    seconds, done = run(60, deadline=0.5)
    assert seconds < 50
    assert done.returncode != 0
    assert "came back" not in done.stdout
    assert 'File "<string>", line 8' in done.stderr


def test_what_ends_in_time_is_left_alone():
    _, done = run(0, deadline=30)
    assert (done.returncode, done.stdout.strip()) == (0, "came back")


def test_a_process_outlives_the_deadlines_of_what_has_ended():
    """The timer is still set for a while after its job has ended."""
    quiet = (
        "import time\nfrom service.watchdog import Watchdog\nwatchdog = Watchdog(1.5)\nfor _ in range(5):\n"
    )
    quiet += '    with watchdog.guard():\n        time.sleep({})\ntime.sleep(2)\nprint("alive")'
    for seconds in (0, 0.35):
        done = subprocess.run(
            [sys.executable, "-c", quiet.format(seconds)], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr
