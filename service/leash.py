"""Run a program that ends when its parent does, however that ends: `leash.py PARENT_PID SIGNAL PROGRAM…`

Linux tells a child of its parent's death by a signal (prctl(2), PR_SET_PDEATHSIG), and keeps that promise
across exec. The promise is made here, in the child, before the program starts. The parent must start it from
its main thread, for the kernel watches the thread. Elsewhere the program simply runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, number: int, program: list[str]) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != parent:  # it died before the promise was made
            sys.exit(128 + number)
    os.execv(program[0], program)


def command(program: list[str], at_death: signal.Signals) -> list[str]:
    """The command line that runs `program`, its first word an absolute path, on a leash of this process."""
    # -I -S: nothing but the interpreter itself is loaded, which takes a hundredth of a second.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(at_death.value), *program]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
