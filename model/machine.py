"""What this machine has for this process: cores and memory. Needs nothing but the standard library."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
"""glibc's malloc.h"""
_LARGE_BLOCK = 4 * 2**20
"""Bytes; photos of a megapixel are smaller, and their blocks are used again."""
_PR_SET_PDEATHSIG = 1
"""Linux's prctl.h"""


def cores_allowed() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """How many cores coloring may use: those that this process may run on, or fewer by OMP_NUM_THREADS."""
    has = cores_allowed()
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(has, int(asked)) if asked.isdecimal() and int(asked) else has


def end_with(parent: int) -> None:
    """Have this process killed when its parent dies, whichever way it does. `parent`: its number; it began this one from its main thread.

    Linux alone does so; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def memory_total() -> int | None:
    """Bytes that this machine has, or fewer by its control group; None where neither says."""
    try:
        has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        has = None
    group = _group()
    found = [most for most in (has, group[0] if group else None) if most is not None]
    return min(found) if found else None


def memory_resident() -> int:
    """Bytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_back_large_blocks() -> None:
    """Have what large photos took go back to the system when they are done.

    glibc keeps blocks of up to 32 MiB once it has met some, and of a process with many threads most of it stays with them.
    """
    with suppress(OSError, AttributeError):  # other systems' C libraries know no such call
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def keep_large_blocks() -> None:
    """Have what a training step took stay with the process, for the next step takes as much.

    glibc gives blocks of more than 32 MiB back at once, and the system zeroes each page of theirs anew (LOG.md, 2026-11-30).
    """
    with suppress(OSError, AttributeError):  # other systems' C libraries know no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 256 * 2**20)


def memory_available() -> int | None:
    """Bytes that this process may still take, by the system and by its control group; None where neither says."""
    found = [left for left in (_system_memory(), _group_memory()) if left is not None]
    return min(found) if found else None


def _system_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        return None


def _group_memory(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    group = _group(root)
    return max(0, group[0] - group[1]) if group else None


def _group(root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int] | None:
    """The most that the control group may have, version 2 or 1, and what it has, but for files in the page cache, which is given back."""
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((root / limit).read_text())  # ValueError for "max"
            used = int((root / usage).read_text())
            lines = (root / usage).with_name("memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        given_back = sum(int(line.split()[1]) for line in lines if line.split()[0] == cache)
        if most < 2**60:  # version 1 says so where there is no limit
            return most, used - given_back
    return None
