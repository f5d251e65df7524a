"""The log: lines that a person reads, or the same as JSON for a machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from service.observability import with_part

PROGRAM = """
import logging, sys, threading, warnings
from structlog.contextvars import bound_contextvars
from service.observability import get_logger, set_up_logging
set_up_logging(sys.argv[1])
log = get_logger("autochrome.test")
log.info("net_loaded", net="lite", seconds=1.23456)
with bound_contextvars(request="r1", nobody=""), bound_contextvars(job="j1"):
    log.info("photo_refused", code="photo_empty", level="high")
    thread = threading.Thread(target=log.info, args=("thread_started",))
    thread.start(); thread.join()
    try:
        raise ValueError("first line\\nsecond line")
    except ValueError:
        log.exception("attempt_failed", error='Error 2: no "such" file job=j9 code=x')
log.info("job_ended", job="j2")
log.debug("too_quiet")
warnings.warn("of a library")
logging.getLogger("celery.worker").warning("lost %s", "a broker job=j9")
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
"""


def lines(format: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, format], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_a_line_is_words_and_values_and_what_is_bound_where_it_was_said():
    said = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines("text")]
    # What is bound comes last, in any order.
    assert [re.sub(r" (request=r1 job=j1|job=j1 request=r1)$", " …", line) for line in said[:4]] == [
        "INFO    net_loaded net=lite seconds=1.235",
        "INFO    photo_refused code=photo_empty level=high …",
        "INFO    thread_started",
        r'ERROR   attempt_failed error="Error 2: no \"such\" file job=j9 code=x" …',
    ]
    assert "ValueError: first line" in said
    assert said[-1] == "WARNING Invalid HTTP request received."
    assert "WARNING lost a broker job=j9" in said
    assert "INFO    job_ended job=j2" in said
    assert "too_quiet" not in str(said)


def test_the_same_as_one_json_object_a_line():
    loaded, refused, thread, broken, after, warning, celery, uvicorn = map(json.loads, lines("json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", loaded.pop("time"))
    assert loaded == {
        "level": "info",
        "logger": "autochrome.test",
        "event": "net_loaded",
        "net": "lite",
        "seconds": 1.235,
    }
    assert (refused["code"], refused["request"], refused["job"]) == ("photo_empty", "r1", "j1")
    assert refused["level"] == "info", "no value takes the place of what the log itself says"
    assert "request" not in thread | after
    assert broken["exception"].endswith("ValueError: first line\nsecond line")
    assert "of a library" in warning["event"]
    assert (celery["logger"], celery["event"]) == ("celery.worker", "lost a broker job=j9")
    assert (uvicorn["logger"], uvicorn["level"]) == ("uvicorn.error", "warning")


def test_a_text_that_looks_like_values_stays_a_text():
    """It took the place of the job's id, and of whatever else it named."""
    broken, *_, celery, _ = map(json.loads, lines("json")[3:])
    assert broken["error"] == 'Error 2: no "such" file job=j9 code=x'
    assert (broken["job"], "code" in broken) == ("j1", False)
    assert "job" not in celery


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_empty_message_of_a_library_is_a_line_too(format):
    program = "import logging; from service.observability import set_up_logging; set_up_logging('%s'); logging.warning('')"
    done = subprocess.run(
        [sys.executable, "-c", program % format], capture_output=True, text=True, timeout=60
    )
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_value_cannot_begin_a_line_of_its_own(format):
    forged = subprocess.run(
        [
            sys.executable,
            "-c",
            "from service.observability import get_logger, set_up_logging; "
            f"set_up_logging('{format}'); get_logger('autochrome').info('a', error='b\\n12:00:00 INFO c')",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(forged.stderr.splitlines()) == 1


def test_a_value_cannot_command_a_terminal_or_end_a_line_in_any_alphabet():
    forged = subprocess.run(
        [
            sys.executable,
            "-c",
            "from service.observability import get_logger, set_up_logging; set_up_logging('text'); "
            r"get_logger('autochrome').info('a', error='b\x1b[2J\rc\x9b1m\u2028d\x85e\té')",
        ],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=60,
    ).stderr.decode()
    assert forged.endswith(r"b\x1b[2J\rc\x9b1m\u2028d\x85e\té" + "\n")


def test_a_line_among_those_of_others_says_whose_it_is_and_keeps_what_it_has():
    assert json.loads(with_part('{"event": "queued", "job": "j1"}', "api")) == {
        "part": "api",
        "event": "queued",
        "job": "j1",
    }
    for words in ("Ready to accept connections", "17", '"quoted"', "{not JSON"):
        assert json.loads(with_part(words, "valkey")).items() >= {("part", "valkey"), ("event", words)}


def test_all_programs_of_one_machine_speak_json_in_one_log(launch, tmp_path):
    """There is no such store, which the API finds first and which ends all."""
    service = launch("-m", "service", port=0, state_dir=tmp_path, store_url="none://such", log_format="json")
    assert service.process.wait(60) == 78
    service.stop()
    said = [json.loads(line) for line in service.lines]
    assert {"valkey", "api", "autochrome"} <= {line["part"] for line in said}
    assert all({"time", "level", "logger", "event"} <= line.keys() for line in said)
    assert (said[-1]["part"], said[-1]["event"]) == ("autochrome", "service_stopped")
