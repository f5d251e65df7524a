"""Logs: one event a line on standard error, `noun_verb key=value` for people, or the same as one JSON object.

Values stay apart from words until they are written: no text can pass for another value. Nothing of a picture, no name of a file, no
query, no secret and no key is ever logged.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from structlog.processors import LogfmtRenderer, format_exc_info
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor

from service.settings import LogFormat

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def get_logger(name: str) -> BoundLogger:
    """A logger of events: `log.info("job_queued", job=id)`. Its lines go wherever logging's logger of that name sends them."""
    logger: BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def set_up_logging(format: LogFormat = "text", part: str = "") -> None:
    """Send our own events, and the warnings of the libraries, to standard error.

    `part`: the name of this program, where its lines stand among those of others.
    """
    handler = _Relay(part, format) if part else logging.StreamHandler(sys.stderr)
    renderer = _as_json if format == "json" else _as_text
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=_ADDED, processors=[renderer]))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("autochrome").setLevel(logging.INFO)
    logging.captureWarnings(True)


def relay(line: str, part: str, format: LogFormat) -> None:
    """Write a line of one of several programs to standard error, with whose it is."""
    sys.stderr.write(f"{part:<10} | {line}\n" if format == "text" else with_part(line, part) + "\n")
    sys.stderr.flush()


def with_part(line: str, part: str) -> str:
    """A line of a program as a JSON object that says whose it is; one that is JSON keeps all it has."""
    with suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict):
            return json.dumps({"part": part, **event}, ensure_ascii=False)
    head = {"part": part, "time": _iso(time.time()), "level": "info", "logger": part, "event": line}
    return json.dumps(head, ensure_ascii=False)


class _Relay(logging.Handler):
    """The log of the program that relays those of the others."""

    def __init__(self, part: str, format: LogFormat) -> None:
        super().__init__()
        self._part = part
        self._as = format

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            relay(line, self._part, self._as)


def _tidy(_: object, __: str, event: EventDict) -> EventDict:
    """Without what is empty; floats with three digits."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in event.items()
        if (value is not None and value != "") or name == "event"
    }


def _as_text(_: object, __: str, event: EventDict) -> str:
    """`12:00:00 INFO    noun_verb key=value`, and a traceback below it. A value that holds spaces, "=" or quotes is quoted."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    words, traceback = event.pop("event"), event.pop("exception", "")
    clock = time.strftime("%H:%M:%S", time.localtime(record.created))
    line = f"{clock} {record.levelname:<7} {words.rstrip()} {_pairs(None, '', event)}".rstrip()
    line = _CONTROL.sub(_escaped, line)  # else a value could begin a line of its own, or command a terminal
    return f"{line}\n{traceback}" if traceback else line


def _as_json(_: object, __: str, event: EventDict) -> str:
    """An object: time, level, logger, event, the values and a traceback. No value takes the place of the first four."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    head = {
        "time": _iso(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event.pop("event"),
    }
    values = {name: value for name, value in event.items() if name not in head}
    return json.dumps(head | values, ensure_ascii=False, default=str)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")


_pairs = LogfmtRenderer(bool_as_flag=False)
_ADDED: list[Processor] = [structlog.contextvars.merge_contextvars, format_exc_info, _tidy]
"""What is done to every event, those of libraries too: the values bound to this thread or task come in, tracebacks become text."""

structlog.configure(
    processors=[structlog.stdlib.filter_by_level, *_ADDED, ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=BoundLogger,
    cache_logger_on_first_use=True,
)
