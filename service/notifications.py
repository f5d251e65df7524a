"""What a worker takes from the broker: notifications of jobs. All else that lies there is dropped, with a line in the log."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from queue import Empty
from typing import Any

import redis
from celery import Celery, signals
from celery.platforms import SecurityWarning
from celery.worker.consumer import Consumer
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as redis_transport

from service.celery_app import COLORIZE
from service.observability import get_logger

LONGEST_ID = 64
log = get_logger("autochrome.tasks")


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
        consumer_cls=NotificationConsumer,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _keep_logging(**_: object) -> None:
    """Celery sets up no log of its own where a receiver of this signal says to have done so."""


class NotificationConsumer(Consumer):  # type: ignore[misc]
    """Hands on what is a notification of a job, and drops all else with a line in the log."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        # It would make 28 queues on RabbitMQ, for messages that are to be delivered later: ours are not.
        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        )

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*arguments, **options)

        def receive(message: Any) -> None:
            try:
                if _is_notification(message):
                    handle(message)
                    return
                reason = "no notification of a job"
            except Exception as error:
                if _is_of_the_connection(error, self.connection_errors):
                    raise
                reason = type(error).__name__
            self._drop(message, reason)

        return receive

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._drop(message, type(exc).__name__)

    def _drop(self, message: Any, reason: str) -> None:
        _log_dropped(reason)
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)


def _is_notification(message: Any) -> bool:
    """Whether Celery would call our task with one id. May raise anything, where it is not."""
    (arguments, keywords, _), headers = message.payload, message.headers
    [id] = arguments
    at_once = headers.get("eta") is None and headers.get("expires") is None
    is_ours = headers["task"] == COLORIZE and isinstance(headers["id"], str) and at_once
    return is_ours and not keywords and isinstance(id, str) and len(id) <= LONGEST_ID


def _is_of_the_connection(error: Exception, connection_errors: tuple[type[Exception], ...]) -> bool:
    """Kombu takes a KeyError for one, too."""
    return isinstance(error, connection_errors) and not isinstance(error, KeyError)


def _log_dropped(reason: str) -> None:
    """A message was no notification of a job."""
    log.warning("message_dropped", reason=reason)


# Whoever can write to a Redis can put anything on Celery's list there. By itself kombu would end the worker over it.


class _RubbishInRedis:
    """A channel that drops what is not JSON: on a list of Redis anything can lie."""

    def _brpop_read(self, **options: object) -> object:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (Empty, redis.RedisError, OSError):
            raise
        except Exception as error:
            _log_dropped(type(error).__name__)
            raise Empty from None  # as if nothing had come


class _RubbishDelivered:
    """A transport that drops JSON which is no message."""

    def _deliver(self, message: object, queue: str) -> None:
        try:
            super()._deliver(message, queue)  # type: ignore[misc]
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError, OSError):
            raise
        except Exception as error:
            _log_dropped(type(error).__name__)


class RedisTransport(_RubbishDelivered, redis_transport.Transport):
    class Channel(_RubbishInRedis, redis_transport.Channel):
        pass


class SentinelTransport(_RubbishDelivered, redis_transport.SentinelTransport):
    class Channel(_RubbishInRedis, redis_transport.SentinelChannel):
        pass


# By these names kombu finds what serves a URL.
TRANSPORT_ALIASES.update(
    redis=f"{__name__}:RedisTransport",
    rediss=f"{__name__}:RedisTransport",
    sentinel=f"{__name__}:SentinelTransport",
)
