"""A training run's folder: its checkpoint, its best weights, its lock.

`checkpoint.pt` is replaced whole, every few minutes and at the end; `best.pt` holds the averaged weights that did best on the validation
photographs; `start.pt` those that the run began with, where the loss asks them, or the weights to use lie between them and the averaged
ones. All are read without running any code of theirs, whoever made them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from model.errors import AutochromeError, InputError
from model.training import config as configs
from model.training import distributed
from model.training.logging import Progress, check_finite

CHECKPOINT, BEST, START = "checkpoint.pt", "best.pt", "start.pt"
_FREE = {"code", "start"}
"""Metadata that may differ where a run is continued: which code made it; how its start is decoded, which older code did not keep."""


class BusyError(InputError):
    """Another process trains in this run folder."""


class RunError(AutochromeError):
    """A run whose checkpoint cannot be used.

    `code` is run_damaged, run_mismatch (of another configuration or data) or weights_mismatch (of another net than is to have them).
    """


@dataclass(frozen=True)
class Saved:
    """What a run's folder says of its averaged weights."""

    state: dict[str, Tensor]
    progress: Progress
    metadata: dict[str, Any]


def averaged(run: Path) -> Saved:
    """The averaged weights to use: the best ones where the run keeps them, else those of its newest checkpoint.

    The best ones may be newer than the checkpoint, and say themselves of which step they are; photos and times are then the checkpoint's.
    Raises FileNotFoundError where there is no run, RunError for one that cannot be used.
    """
    if not (run / CHECKPOINT).exists():
        raise FileNotFoundError(f"{run} holds no training run")
    saved = _read(run / CHECKPOINT, {"averaged", "progress", "metadata"})
    progress, metadata = Progress(**saved["progress"]), saved["metadata"]
    if metadata.get("config", {}).get("keep_best") and ((run / BEST).exists() or progress.best_step >= 0):
        best = _read(run / BEST, {"averaged", "step", "score"})
        step = max(progress.step, best["step"])
        progress = replace(progress, step=step, best_step=best["step"], best_score=best["score"])
        return Saved(best["averaged"], progress, metadata)
    prefix = "module."
    state = {k.removeprefix(prefix): value for k, value in saved["averaged"].items() if k.startswith(prefix)}
    return Saved(state, progress, metadata)


def metadata(run: Path) -> dict[str, Any]:
    """What a run's checkpoint says of it: method, config, data, code. Raises as `averaged` does."""
    if not (run / CHECKPOINT).exists():
        raise FileNotFoundError(f"{run} holds no training run")
    found: dict[str, Any] = _read(run / CHECKPOINT, {"metadata"})["metadata"]
    return found


def save(
    run: Path, parts: dict[str, Any], progress: Progress, metadata: dict[str, Any], loss: Tensor
) -> None:
    """Replace the checkpoint. DivergedError, and nothing is written, for a loss or weights that are not finite."""
    check_finite("loss is", [loss], progress.step)
    states = {name: part.state_dict() for name, part in parts.items()}
    for name, part in parts.items():  # a gradient can be infinite where the loss is not
        if isinstance(part, nn.Module):
            check_finite(f"weights of {name} are", states[name].values(), progress.step)
    _write(run / CHECKPOINT, states | {"progress": asdict(progress), "metadata": metadata})


def save_best(run: Path, net: nn.Module, step: int, score: float) -> None:
    """Replace the best weights."""
    _write(run / BEST, {"averaged": net.state_dict(), "step": step, "score": score})


def start(run: Path, net: nn.Module) -> dict[str, Tensor]:
    """The weights that a run began with. Until it has a checkpoint, each call keeps those of `net` as its start. All processes call it."""
    if distributed.place()[0] == 0 and not (run / CHECKPOINT).exists():
        _write(run / START, {"start": net.state_dict()})
    distributed.barrier()  # the first process alone writes
    begun: dict[str, Tensor] = _read(run / START, {"start"})["start"]
    return begun


def resume(run: Path, parts: dict[str, Any], metadata: dict[str, Any]) -> Progress:
    """Fill the parts from the run's checkpoint, where there is one; how far it is.

    RunError (run_mismatch) where the run was begun with other metadata; but a finished run may go on to more steps, as a further stage.
    """
    if not (run / CHECKPOINT).exists():
        return Progress()
    saved = _read(run / CHECKPOINT, {"progress", "metadata"})
    before = saved["metadata"] | _completed(saved["metadata"])
    differing = sorted(
        key for key in (metadata | before).keys() - _FREE if metadata.get(key) != before.get(key)
    )
    progress = Progress(**saved["progress"])
    extended = differing == ["config"] and _extends(metadata["config"], before["config"], progress)
    if extended:
        differing = []
    if differing:
        said = " and ".join(_named(key, metadata, before) for key in differing)
        raise RunError(
            "run_mismatch",
            f"{run} was begun with another {said}; continue it as it was, or name a new folder{_hint(differing, metadata, before)}",
        )
    if not parts.keys() <= saved.keys():
        raise _damaged(run / CHECKPOINT)
    for name, part in parts.items():
        fill(part, saved[name], run)
    return replace(progress, since_best=0) if extended else progress


def end(run: Path) -> int:
    """The step at which a run's last stage ends: as its configuration says, or before, where early stopping ended it."""
    saved = _read(run / CHECKPOINT, {"progress", "metadata"})
    return _end(saved["metadata"]["config"], Progress(**saved["progress"]))


def _named(key: str, metadata: dict[str, Any], before: dict[str, Any]) -> str:
    """What differs, and what it was: "config (validate_every was 0)", "set of photographs (140, now 141)"."""
    if key == "processes":
        return f"number of processes ({before.get(key, 1)})"
    if key == "data":
        now, then = (of.get(key, {}).get("photos") for of in (metadata, before))
        return (
            f"set of photographs ({then}, now {now})"
            if now != then
            else "set of photographs, or another order of them"
        )
    if key != "config":
        return key
    mine, its = (_flat(of.get(key) or {}) for of in (metadata, before))
    fields = [f"{path[-1]} was {value!r}" for path, value in its.items() if mine.get(path, value) != value]
    unlike = [f"{path[-1]} is not known to both" for path in sorted(mine.keys() ^ its.keys())]
    said = ", ".join(fields + unlike)
    return f"{key} ({said})" if said else key


def _hint(differing: list[str], metadata: dict[str, Any], before: dict[str, Any]) -> str:
    """What else there is to do, where it is likely to be what was meant."""
    if "data" in differing:
        return "; --photos, --exclude, --apart-from and --hold-out say which photographs it learns from"
    if differing == ["config"]:
        mine, its = metadata["config"], before["config"]
        if mine | {"steps": its["steps"]} == its and mine["steps"] > its["steps"]:
            return f"; --extend --steps {mine['steps']} goes on with it when it is finished"
    return ""


def _flat(values: dict[str, Any], within: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Each value by its path: crops, shape and options have fields of one name."""
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in values.items():
        path = (*within, name)
        flat |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return flat


def _completed(metadata: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration with what older code had no field for: it did as the defaults say."""
    try:
        return {"config": asdict(configs.read(metadata["config"]))}
    except (KeyError, TypeError, InputError):  # of code that had other fields, or of no configuration
        return {}


def _extends(config: dict[str, Any], before: dict[str, Any], progress: Progress) -> bool:
    """Whether a configuration is the one before with a stage more."""
    earlier = (*before["earlier"], _end(before, progress))
    return config == before | {"steps": config["steps"], "earlier": earlier}


def _end(config: dict[str, Any], progress: Progress) -> int:
    patience = config.get("patience", 0)
    steps: int = config["steps"]
    return progress.step if patience and progress.since_best >= patience else steps


def fill(part: nn.Module | Optimizer, state: dict[str, Any], run: Path) -> None:
    """Give a net, or an optimizer, what a run's checkpoint holds of it. Raises RunError (weights_mismatch) for another's."""
    try:
        part.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            "weights_mismatch",
            f"{run} holds another {type(part).__name__} than this code makes of its configuration; "
            "go back to the code that its metadata name, or train anew in another folder",
        ) from error


def training_processes(run: Path) -> tuple[int, int] | None:
    """(pid, how many processes train with it) of the first process that trains in this folder now, running or paused; or None."""
    try:
        with (run / "trainer").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        said = (run / "trainer").read_text().split()
        if said:  # else it has the lock, and has not yet said who it is
            return int(said[0]), int(said[1]) if len(said) > 1 else 1  # older code said its pid alone
    return None


def check_idle(run: Path) -> None:
    """Raises BusyError where another process trains in this folder now."""
    if training_processes(run):
        raise _busy(run)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the folder's lock, which goes with the process however it ends; the file says which process that is, and of how many.

    Raises BusyError.
    """
    with (run / "trainer").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(run) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()} {distributed.place()[1]}")
        lock.flush()
        yield


def _busy(run: Path) -> BusyError:
    return BusyError(f"another process trains in {run} already; let it, or name another folder")


def _read(path: Path, parts: set[str]) -> dict[str, Any]:
    """The file with these parts, and maybe more. No code of it is run, whoever made it."""
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise _damaged(path) from error
    with file:
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises nearly anything on bytes that it did not write
            raise _damaged(path) from error
    if not isinstance(saved, dict) or not parts <= saved.keys():
        raise _damaged(path)
    return saved


def _damaged(path: Path) -> RunError:
    if path.name == CHECKPOINT:
        wrong, otherwise = "cut off, or no checkpoint of a run", "delete it, and the run begins anew"
    else:
        wrong, otherwise = "missing, cut off, or no file of a run", "train anew in another folder"
    return RunError("run_damaged", f"{path} is {wrong}; put back a copy of it, or {otherwise}")


def _write(path: Path, values: dict[str, Any]) -> None:
    half_written = path.with_name(f"{path.name}.new")
    torch.save(values, half_written)
    half_written.replace(path)
