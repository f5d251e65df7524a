"""The Celery app and the task names. A message is a notification: it carries a job's id and nothing else.

Messages are acknowledged as soon as a worker receives them, so that any broker serves: that none is lost is the
work of the job record and the reaper.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from celery import Celery

from service.database import Sentinels
from service.errors import SettingsError
from service.observability import get_logger

COLORIZE = "autochrome.colorize"
BROKER_TIMEOUT = 5.0
"""Seconds after which a broker that takes calls and answers none is given up by who notifies, and soon after by who waits for messages."""
CONFIRM_TIMEOUT = 2.0
"""Seconds in which RabbitMQ is to confirm a message. A quorum queue without a majority never does."""
HEARTBEAT = 20
"""Seconds between two signs of life on AMQP: a worker that was cut off from RabbitMQ connects again after two of these."""
log = get_logger("autochrome.tasks")


def make_app(broker_url: str) -> Celery:
    """A Celery app for a broker: JSON only, no result backend, no remote control, no events.

    Raises SettingsError where Celery knows no such broker. Nothing is connected yet.
    """
    app = Celery("autochrome", set_as_current=False)
    app.conf.update(
        task_default_queue="autochrome",
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.2},
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis without memory delivers a message and then cannot record that: else that would end the worker.
        broker_channel_error_retry=True,
        broker_connection_timeout=BROKER_TIMEOUT,
        broker_heartbeat=HEARTBEAT,
    )
    try:
        app.conf.update(_broker(broker_url))
        app.connection_for_write().transport  # noqa: B018  (made when it is asked for; it connects to nothing)
    except (KeyError, ValueError, ImportError) as error:
        reason = error.args[0] if error.args else error
        raise SettingsError(f"AUTOCHROME_BROKER_URL cannot be used: {reason}.") from error
    return app


def _broker(url: str) -> dict[str, Any]:
    """Celery's settings for a broker. Raises ValueError."""
    if "://" not in url:
        raise ValueError("it does not begin with a scheme such as redis:// or amqp://")
    if url.startswith(("amqp://", "amqps://", "pyamqp://")):
        # Of a quorum queue most nodes have each message. Celery then has every consumer prefetch for itself, as these queues demand.
        return {
            "broker_url": url,
            "broker_transport_options": {"confirm_publish": True},
            "task_default_queue_type": "quorum",
        }
    options: dict[str, Any] = {
        "health_check_interval": 2 * BROKER_TIMEOUT,
        "socket_timeout": BROKER_TIMEOUT,
        "socket_connect_timeout": BROKER_TIMEOUT,
    }
    sentinels = Sentinels.of(url)
    if sentinels is None:
        return {"broker_url": url, "broker_transport_options": options}
    login = ":".join(quote(sentinels.login.get(key, ""), safe="") for key in ("username", "password"))
    options |= {"master_name": sentinels.master, "sentinel_kwargs": sentinels.options}
    hosts = [f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in sentinels.hosts]
    return {
        "broker_url": ";".join(f"sentinel://{login}@{host}/{sentinels.database}" for host in hosts),
        "broker_transport_options": options,
    }


def notify(app: Celery, id: str) -> None:
    """Tell the workers of a job. That it cannot be told is no error, whatever the broker's library raises: the reaper notifies again."""
    try:
        app.send_task(COLORIZE, args=[id], ignore_result=True, confirm_timeout=CONFIRM_TIMEOUT)
    except Exception as error:
        log.warning("notification_failed", job=id, error=type(error).__name__)
