"""Logs: one line an event on standard error, its words and then `key=value`; or the same as one JSON object.

Nothing of a picture, no name of a file, no query, no secret and no key is ever logged.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime

from service.settings import LogFormat

_VALUE = re.compile(r" (?=[a-z_0-9]+=)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default={})  # noqa: B039  (never written to)


def set_up_logging(format: LogFormat = "text") -> None:
    """Send our own log and the warnings of the libraries to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines() if format == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("autochrome").setLevel(logging.INFO)
    logging.captureWarnings(True)


@contextmanager
def bound(**values: object) -> Iterator[None]:
    """Put these at the end of every line that is logged inside, by this thread or task; empty ones are left out."""
    token = _bound.set({**_bound.get(), **{k: v for k, v in values.items() if v not in ("", None)}})
    try:
        yield
    finally:
        _bound.reset(token)


def pairs(values: Mapping[str, object]) -> str:
    """`a=1 b=2.5`: floats with three digits."""
    return " ".join(f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())


def as_json(line: str, part: str) -> str:
    """A line of one of several programs as a JSON object that says whose it is; one that is JSON keeps all it has."""
    with suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict):
            return json.dumps({"part": part, **said}, ensure_ascii=False)
    return json.dumps(
        {"part": part, "time": _time(time.time()), "level": "info", "logger": part, "event": line},
        ensure_ascii=False,
    )


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        line = super().formatMessage(record).rstrip("\n")
        line = _CONTROL.sub(_escaped, line)  # else a value could forge a line, or command a terminal
        return f"{line} {pairs(_bound.get())}" if _bound.get() else line


class _Lines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, what was said as `key=value`, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        event, *said = _VALUE.split(record.getMessage().rstrip())
        line: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        values = dict(pair.split("=", 1) for pair in said) | dict(_bound.get())
        line.update({name: value for name, value in values.items() if name not in line})
        return json.dumps(line, ensure_ascii=False, default=str)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")
