"""The Celery app and the task names. A message is a notification: it carries a job's id and nothing else.

Messages are acknowledged as soon as a worker receives them, so that any broker serves: that none is lost is the
work of the job record and the reaper.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

from celery import Celery, signals
from celery.platforms import SecurityWarning
from kombu.exceptions import OperationalError

from service.errors import SettingsError
from service.observability import get_logger

COLORIZE = "autochrome.colorize"
log = get_logger("autochrome.tasks")


def make_app(broker_url: str) -> Celery:
    """A Celery app for a broker: JSON only, no result backend, no remote control, no events.

    Raises SettingsError where Celery knows no such broker. Nothing is connected yet.
    """
    app = Celery("autochrome", broker=broker_url, set_as_current=False)
    _check(app, broker_url)
    app.conf.update(
        task_default_queue="autochrome",
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2},
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis without memory delivers a message and then cannot record that: else that would end the worker.
        broker_channel_error_retry=True,
        broker_connection_timeout=5,
        broker_transport_options={"health_check_interval": 25, "socket_connect_timeout": 5},
    )
    return app


def _check(app: Celery, broker_url: str) -> None:
    """Raises SettingsError here, where the first notification would otherwise fail."""
    try:
        if "://" not in broker_url:
            raise ValueError("it does not begin with a scheme such as redis:// or amqp://")
        app.connection_for_write().transport  # noqa: B018  (made when it is asked for; it connects to nothing)
    except (KeyError, ValueError, ImportError) as error:
        reason = error.args[0] if error.args else error
        raise SettingsError(f"AUTOCHROME_BROKER_URL cannot be used: {reason}.") from error


def notify(app: Celery, id: str) -> None:
    """Tell the workers of a job. A broker that does not answer is no error: the reaper notifies again."""
    try:
        app.send_task(COLORIZE, args=[id], ignore_result=True)
    except (OperationalError, OSError) as error:
        log.warning("notification_failed", job=id, error=type(error).__name__)


def consume(app: Celery, task: Callable[[str], None], threads: int, on_stop: Callable[[], None]) -> int:
    """Call `task` with the id of each message until SIGTERM, upon which `on_stop` is called and those begun are ended.

    Returns the exit code.
    """
    app.task(name=COLORIZE)(task)
    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.worker_shutting_down.connect(lambda **_: on_stop(), weak=False)
    # It warns root of pickled messages; ours are JSON, and in a container root is the custom.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        pool="threads",
        concurrency=threads,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _keep_logging(**_: object) -> None:
    """Celery sets up no log of its own where a receiver of this signal says to have done so."""
