"""Pause a training run that goes on in the background, so that something else can be timed, and let it go on."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from model.errors import InputError
from model.training import runs


def pause(arguments: argparse.Namespace) -> int:
    """Stop the run's process where it stands. It keeps its memory and takes no time of the machine; nothing is lost."""
    os.kill(_process(arguments.run_folder), signal.SIGSTOP)
    print(f"{arguments.run_folder} is paused")
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """Let a paused run go on. One that has ended or was killed goes on by the command that began it."""
    os.kill(_process(arguments.run_folder), signal.SIGCONT)
    print(f"{arguments.run_folder} goes on")
    return 0


def _process(run: Path) -> int:
    process = runs.trainer_of(run)
    if process is None:
        raise InputError(f"nothing trains in {run} now; the command that began a run continues it")
    return process
