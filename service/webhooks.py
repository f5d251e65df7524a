"""Webhooks: who asked for one is notified, signed, how its job ended. At least once, in any order.

The scripts that end a job write its delivery in the same step, so none is lost with a process; one that erases a
job erases what has not been delivered. Format and signature are those of Standard Webhooks 1.0.0.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from urllib.parse import urlsplit

import redis
from standardwebhooks.webhooks import Webhook

from service.database import PREFIX, Scripts
from service.errors import Problem
from service.jobs import Jobs
from service.observability import get_logger
from service.outbound import SYSTEM, Allow, Network, Timeouts, post
from service.schemas import job_view
from service.settings import Settings

EVERY = 1.0
"""Seconds between two looks for what is due."""
PAUSES = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds before each further try; after the last of these tries it is given up, whatever the tries ended with."""
LONGEST = 24 * 3600.0
"""Seconds after the end of a job from which on nothing is tried any more, should there have been no worker to try."""
AT_ONCE, AT_A_RECEIVER = 16, 4
"""Deliveries that one worker makes at a time, in all and to one host and port: one that hangs must not hold up all others."""
LEASE = 60.0
"""Seconds after which a delivery that was begun and never ended is begun anew; longer than any takes."""
TIMEOUTS = Timeouts(connect=5.0, idle=10.0, total=15.0)

OUTCOMES = ("delivered", "unwanted", "given_up", "erased")
"""What becomes of a delivery, as the record counts it; the last only where its job was erased while it was made."""

log = get_logger("autochrome.webhooks")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event of one job on its way."""

    id: str
    url: str
    event: str
    """How the job ended, one of `models.ENDED`; `schedule_webhook` of lua/prelude.lua enters it. Another kind of event begins there."""
    ended: int
    """When (ms)."""
    tries: int
    """1: this is the first."""

    @property
    def webhook_id(self) -> str:
        """The same at every try, by which a receiver knows what it has had."""
        return f"{self.id}-{self.event}"


class Webhooks:
    """Delivers what is due, from threads of its own."""

    def __init__(
        self,
        client: redis.Redis,
        jobs: Jobs,
        hosts: Allow,
        secrets: Sequence[str],
        base_url: str,
        *,
        pauses: Sequence[float] = PAUSES,
        timeouts: Timeouts = TIMEOUTS,
        network: Network = SYSTEM,
    ) -> None:
        """`secrets`: each `whsec_` and base64. `base_url`: what is put before the links of a job."""
        self._redis = client
        self._said = False
        self._scripts = Scripts(client)
        self._jobs = jobs
        self._hosts = hosts
        self._signers = [Webhook(secret) for secret in secrets]
        self._base_url = base_url
        self._pauses = pauses
        self._timeouts = timeouts
        self._network = network
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        self._under_way: dict[Future[None], str] = {}
        """With the address of each."""
        self._stopping = False
        self._beginning = threading.Lock()
        """Who is stopped between taking deliveries and handing them to threads would lose a try of each."""

    @classmethod
    def of(cls, settings: Settings, client: redis.Redis, jobs: Jobs) -> Webhooks:
        base_url = settings.public_url or settings.root_path
        return cls(client, jobs, settings.webhook_hosts, settings.webhook_secret, base_url.rstrip("/"))

    def tick(self) -> None:
        """Begin what is due, as threads are free, until nothing is. May raise redis.RedisError."""
        if not self._hosts:
            self._say_what_waits()
            return
        while self._begin():
            wait(self._under_way, timeout=EVERY, return_when=FIRST_COMPLETED)

    def _begin(self) -> bool:
        """Whether there was anything to begin, and time to."""
        self._under_way = {future: url for future, url in self._under_way.items() if not future.done()}
        free = AT_ONCE - len(self._under_way)
        if not free:
            return False
        receivers = [urlsplit(url).netloc.lower() for url in self._under_way.values()]
        with self._beginning:
            if self._stopping:
                return False
            taken, given_up = self._scripts.run(
                *("webhook_take", free, int(LEASE * 1000), 1 + len(self._pauses), int(LONGEST * 1000)),
                *(token_hex(8), AT_A_RECEIVER),
                *receivers,
            )
            for id, url, event, ended, tries in taken:
                delivery = Delivery(id, url, event, int(ended), int(tries))
                self._under_way[self._threads.submit(self._deliver, delivery)] = url
        for id, event, tries in given_up:
            log.warning("webhook_given_up", job=id, status=event, tries=int(tries))
        return bool(taken)

    def _say_what_waits(self) -> None:
        """Once. What was asked for before webhooks were turned off waits for its end with its job."""
        if not self._said and (waiting := self._redis.zcard(PREFIX + "webhooks")):
            self._said = True
            log.warning("webhooks_disabled", waiting=waiting, setting="AUTOCHROME_WEBHOOK_HOSTS")

    def stop(self) -> None:
        """Begin no more, and let those that are under way come to their end. Each has a thread of its own: none waits for one."""
        with self._beginning:
            self._stopping = True
        self._threads.shutdown()

    def _deliver(self, delivery: Delivery) -> None:
        try:
            answer = self._answer(delivery)
            if answer is None:
                self._scripts.run("webhook_end", delivery.id, delivery.tries, "erased")
            else:
                self._note(delivery, answer)
        except redis.RedisError as error:  # its lease brings it back, as often as there are tries
            log.warning("webhook_lost", job=delivery.id, error=str(error))

    def _answer(self, delivery: Delivery) -> int | str | None:
        """The status of the answer, or why there is none; None where there is nothing left to tell.

        An error of ours is a failed try like any other. May raise redis.RedisError.
        """
        try:
            body = self._body(delivery)
            return None if body is None else self._post(delivery, body)
        except redis.RedisError:
            raise
        except Exception as error:
            if self._scripts.run("webhook_failed", delivery.id, delivery.tries, type(error).__name__):
                log.exception("webhook_failed", job=delivery.id, status=delivery.event)
            return "internal_error"

    def _body(self, delivery: Delivery) -> bytes | None:
        """The job as GET shows it now; None where it has been erased since it ended."""
        job = self._jobs.get(delivery.id)
        if job is None or job.status != delivery.event:
            return None
        message = {
            "type": f"colorization.{delivery.event}",
            "timestamp": datetime.fromtimestamp(delivery.ended / 1000, tz=UTC).isoformat(),
            "data": job_view(job, self._base_url).model_dump(mode="json"),
        }
        return json.dumps(message, separators=(",", ":")).encode()

    def _post(self, delivery: Delivery, body: bytes) -> int | str:
        """The status of the answer, or why there is none."""
        signature = signature_headers(self._signers, delivery.webhook_id, datetime.now(UTC), body)
        headers = {"Content-Type": "application/json", **signature}
        try:
            return post(
                delivery.url, body, headers, self._hosts, timeouts=self._timeouts, network=self._network
            )
        except Problem as problem:
            return problem.code

    def _note(self, delivery: Delivery, answer: int | str) -> None:
        said = {"job": delivery.id, "status": delivery.event, "tries": delivery.tries, "answer": answer}
        if isinstance(answer, int) and 200 <= answer < 300:
            log.info("webhook_delivered", **said)
            self._scripts.run("webhook_end", delivery.id, delivery.tries, "delivered")
        elif answer == 410:  # so a receiver says that it wants no more
            log.info("webhook_unwanted", **said)
            self._scripts.run("webhook_end", delivery.id, delivery.tries, "unwanted")
        elif delivery.tries > len(self._pauses):
            log.warning("webhook_given_up", **said)
            self._scripts.run("webhook_end", delivery.id, delivery.tries, "given_up")
        else:
            log.info("webhook_postponed", **said)
            pause = int(self._pauses[delivery.tries - 1] * 1000)
            self._scripts.run("webhook_again", delivery.id, delivery.tries, pause)


def signature_headers(signers: Sequence[Webhook], id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks, signed with each secret, so that one can be replaced by another. `at` is in UTC."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signer.sign(id, at, body.decode()) for signer in signers),
    }


def refuse_unless_allowed(url: str, hosts: Allow) -> None:
    """What can be said at the door. Raises `webhook_disabled` or `url_not_allowed`."""
    if not hosts:
        raise Problem("webhook_disabled")
    hosts.target(url)
