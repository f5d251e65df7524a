"""Webhooks from the end of a job to a real receiver: signed, tried again, given up, and erased with the job."""

from __future__ import annotations

import base64
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from service.errors import Problem
from service.jobs import Jobs
from service.models import Bounds, Claim, Lease, Net, Order, Result
from service.outbound import Allow, Network, Timeouts
from service.schemas import Options
from service.watchdog import Periodic
from service.webhooks import PAUSES, Webhooks, refuse_unless_allowed, signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
QUICK = Timeouts(1, 1, 2)
NET = Net("lite", "ab" * 32)
ID = "0123456789abcdef0123456789abcdef"
DOCUMENT = Path(__file__).parents[2] / "docs/webhooks.md"


class Receiver(ThreadingHTTPServer):
    """Answers what it is told to, the last for ever, and keeps what has come: headers and body."""

    def __init__(self, *answers: int | Callable[[], int]) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.at: list[float] = []
        self.answers = list(answers)
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.at.append(time.monotonic())
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(answer() if callable(answer) else answer)
        self.send_header("Location", f"{self.server.origin}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(200)
    yield receiver
    receiver.stop()


@pytest.fixture
def deliver(client, until) -> Iterator[Callable[..., Webhooks]]:
    """Webhooks that tick, as those of a worker do."""
    stop = threading.Event()
    begun: list[tuple[threading.Thread, Webhooks]] = []

    def start(hosts: str, *secrets: str, pauses=(0.05, 0.1), timeouts=QUICK, **more) -> Webhooks:
        webhooks = Webhooks(
            client,
            Jobs(client, Lease(5, 0.1)),
            Allow.of(hosts),
            secrets or (SECRET,),
            "https://color.example",
            pauses=pauses,
            timeouts=timeouts,
            **more,
        )

        def tick() -> None:
            while not stop.wait(0.02):
                webhooks.tick()

        thread = threading.Thread(target=tick)
        thread.start()
        begun.append((thread, webhooks))
        return webhooks

    yield start
    stop.set()
    for thread, webhooks in begun:
        thread.join()
        webhooks.stop()


@pytest.fixture
def slow_jobs(client) -> Jobs:
    """Jobs whose leases outlast a test."""
    return Jobs(client, Lease(60, 1))


def order(jobs: Jobs, webhook: str | None, id: str = ID, keep_for: float = 60) -> None:
    options = Options(webhook=webhook)
    jobs.create(id, jobs.secret_for(id), Order(options, 1000, keep_for), Bounds(100, 10**9))


def begin(jobs: Jobs) -> Claim:
    claim = jobs.claim("w1", NET, 10**9, empty=True)
    assert isinstance(claim, Claim)
    return claim


def succeed(jobs: Jobs) -> None:
    jobs.complete(begin(jobs), {"save": 0.1}, Result("k/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 9))


def counted(client, outcome: str) -> int:
    return int(client.hget("{autochrome}:counters", f"webhooks:{outcome}") or 0)


def is_over(client) -> bool:
    return not client.zcard("{autochrome}:webhooks") and not client.exists("{autochrome}:webhook:" + ID)


def verify(*arguments: object) -> None:
    """The documentation's own function."""
    snippet = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert snippet
    names: dict = {}
    exec(snippet[1], names)
    names["verify"](*arguments)


def test_the_signature_is_that_of_the_standard_s_example():
    at = datetime.fromtimestamp(1614265330.9, tz=UTC)
    signers = [Webhook(SECRET), Webhook(OLD_SECRET)]
    headers = signature_headers(signers, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= {by_hand(OLD_SECRET, headers)}",
    }


def by_hand(secret: str, headers: dict[str, str]) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}." + '{"test": 2432232314}'
    return "v1," + base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()


def test_who_asked_is_notified_how_its_job_ended(client, slow_jobs, receiver, deliver, until):
    order(slow_jobs, f"{receiver.origin}/hook?token=x")
    assert is_over(client)  # nothing is said before the end
    before = time.time()
    succeed(slow_jobs)
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "delivered")
    ((headers, body),) = receiver.received
    assert (headers["webhook-id"], headers["content-type"]) == (f"{ID}-succeeded", "application/json")
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 5
    message = json.loads(body)
    assert message["type"] == "colorization.succeeded"
    ended = datetime.fromisoformat(message["timestamp"])
    assert ended.utcoffset() == timedelta(0)
    assert before - 1 < ended.timestamp() < time.time() + 1
    assert (message["data"]["id"], message["data"]["status"]) == (ID, "succeeded")
    assert message["data"]["result"]["url"] == f"https://color.example/v1/colorizations/{ID}/result"
    assert b"token" not in body
    assert counted(client, "delivered") == 1
    verify(SECRET, headers, body)


def test_the_documented_check_refuses_what_is_forged_old_or_of_another_secret(
    client, slow_jobs, receiver, deliver, until
):
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    deliver(receiver.origin, SECRET, OLD_SECRET)
    until(lambda: is_over(client), 5, "delivered")
    ((headers, body),) = receiver.received
    verify(SECRET, headers, body)
    verify(OLD_SECRET, headers, body)  # both sign while one replaces the other
    old = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)}
    for secret, said, answered in [
        (SECRET, headers, body.replace(b"succeeded", b"failed")),
        (SECRET, headers | {"webhook-id": "x"}, body),
        (SECRET, old, body),
        ("whsec_" + "B" * 40, headers, body),
    ]:
        with pytest.raises(ValueError, match=r"signed|old"):
            verify(secret, said, answered)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda jobs: jobs.fail(begin(jobs), "photo_damaged", "It is cut off."), "failed"),
        (lambda jobs: jobs.cancel(ID), "canceled"),
        (lambda jobs: (begin(jobs), jobs.cancel(ID)), "canceled"),
    ],
)
def test_every_end_is_notified(client, slow_jobs, receiver, deliver, until, end, status):
    order(slow_jobs, receiver.origin)
    end(slow_jobs)
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "delivered")
    ((headers, body),) = receiver.received
    message = json.loads(body)
    assert headers["webhook-id"] == f"{ID}-{status}"
    assert (message["type"], message["data"]["status"]) == (f"colorization.{status}", status)
    if status == "failed":
        assert message["data"]["error"]["code"] == "photo_damaged"


def test_a_job_whose_time_runs_out_before_its_end_is_notified(client, slow_jobs, receiver, deliver, until):
    order(slow_jobs, receiver.origin, keep_for=0.05)
    time.sleep(0.1)
    assert list(slow_jobs.expire()) == [ID]
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "delivered")
    assert json.loads(receiver.received[0][1])["data"]["status"] == "expired"


def test_the_third_death_of_a_worker_is_notified(client, jobs, receiver, deliver, until):
    order(jobs, receiver.origin)
    for _ in range(3):
        begin(jobs)
        until(lambda: client.zrangebyscore("{autochrome}:running", 0, time.time() * 1000), 5, "lease out")
        jobs.reap()
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "delivered")
    assert json.loads(receiver.received[0][1])["data"]["error"]["code"] == "worker_died"


def test_who_did_not_ask_is_sent_nothing(client, slow_jobs):
    order(slow_jobs, None)
    succeed(slow_jobs)
    assert is_over(client)


def test_a_receiver_that_fails_is_tried_again_after_longer_and_longer(
    client, slow_jobs, receiver, deliver, until
):
    receiver.answers = [500, 302, 503, 204]
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    deliver(receiver.origin, pauses=(0.1, 0.3, 0.5, 9))
    until(lambda: is_over(client), 5, "delivered")
    assert len(receiver.received) == 4  # and nobody has followed the redirect
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    pauses = [later - sooner for sooner, later in zip(receiver.at, receiver.at[1:], strict=False)]
    assert all(pause >= least - 0.01 for pause, least in zip(pauses, (0.1, 0.3, 0.5), strict=True))
    for headers, body in receiver.received:
        verify(SECRET, headers, body)
    assert (counted(client, "delivered"), counted(client, "given_up")) == (1, 0)


def test_after_the_last_try_it_is_given_up_and_counted(
    client, slow_jobs, receiver, deliver, until, serve, settings
):
    receiver.answers = [404]
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    deliver(receiver.origin, pauses=(0.01, 0.02))
    until(lambda: is_over(client), 5, "given up")
    assert len(receiver.received) == 3
    assert (counted(client, "delivered"), counted(client, "given_up")) == (0, 1)
    assert 'autochrome_webhooks_total{outcome="given_up"} 1.0' in serve(settings).get("/metrics").text


def said(caplog, event: str) -> list[dict]:
    """What was logged of one kind of event: its values, a traceback as `exception`."""
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [values for values in events if values["event"] == event]


@pytest.mark.parametrize("fault", ["the post", "the record"])
def test_an_error_of_ours_is_tried_as_often_as_any_and_logged_once(
    client, slow_jobs, receiver, deliver, until, monkeypatch, caplog, fault
):
    def break_down(*_: object, **__: object) -> int:
        raise ValueError("nobody thought of this")

    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    if fault == "the post":
        monkeypatch.setattr("service.webhooks.post", break_down)
    else:
        client.hset(f"{{autochrome}}:job:{ID}", "options", "no JSON")
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "given up")
    assert counted(client, "given_up") == 1
    (failure,) = said(caplog, "webhook_failed")
    assert failure["exception"].startswith("Traceback")
    (last,) = said(caplog, "webhook_given_up")
    assert (last["tries"], last["answer"]) == (3, "internal_error")
    assert not receiver.received


def test_a_delivery_whose_tries_never_end_is_given_up(
    client, slow_jobs, receiver, deliver, until, monkeypatch, caplog
):
    """As one would that ends each worker's process."""
    begun: list[int] = []
    monkeypatch.setattr("service.webhooks.LEASE", 0.05)
    monkeypatch.setattr(Webhooks, "_deliver", lambda _, delivery: begun.append(delivery.tries))
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "given up")
    assert begun == [1, 2, 3]
    assert counted(client, "given_up") == 1
    until(lambda: len(said(caplog, "webhook_given_up")) == 1, 5, "it is said")


def test_a_delivery_that_waited_for_a_worker_for_a_day_is_given_up(
    client, slow_jobs, receiver, deliver, until, caplog
):
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    ended = int(client.hget("{autochrome}:webhook:" + ID, "ended"))
    client.hset("{autochrome}:webhook:" + ID, "ended", ended - 24 * 3600 * 1000)
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "given up")
    assert not receiver.received
    assert counted(client, "given_up") == 1
    until(lambda: len(said(caplog, "webhook_given_up")) == 1, 5, "it is said")


def test_the_pauses_are_those_that_are_documented():
    assert PAUSES == (5, 30, 120, 600, 3600)


def test_a_worker_that_may_tell_nobody_says_once_that_somebody_waits(
    client, slow_jobs, deliver, until, caplog, receiver
):
    deliver("")
    time.sleep(0.1)
    assert not said(caplog, "webhooks_disabled"), "nothing waits"
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    until(lambda: said(caplog, "webhooks_disabled"), 5, "it is said")
    time.sleep(0.2)
    (line,) = said(caplog, "webhooks_disabled")
    assert (line["waiting"], line["setting"]) == (1, "AUTOCHROME_WEBHOOK_HOSTS")
    assert client.zcard("{autochrome}:webhooks") == 1


def test_gone_means_gone(client, slow_jobs, receiver, deliver, until):
    receiver.answers = [410]
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "ended")
    assert len(receiver.received) == 1
    assert (counted(client, "unwanted"), counted(client, "given_up")) == (1, 0)


def put_off(client) -> int:
    """Deliveries that wait for a further try, an hour from now: those under way come back sooner, when their lease ends."""
    return client.zcount("{autochrome}:webhooks", (time.time() + 1800) * 1000, "+inf")


def test_receivers_that_hang_do_not_hold_up_another(client, slow_jobs, receiver, deliver, until):
    released = threading.Event()
    hanging = Receiver(lambda: 503 if released.wait(120) else 200)
    try:
        for number in range(20):
            order(slow_jobs, f"{hanging.origin}/{number}", f"{number:032x}")
            succeed(slow_jobs)
        order(slow_jobs, receiver.origin)
        succeed(slow_jobs)
        long = Timeouts(120, 120, 120)
        deliver(f"{receiver.origin} {hanging.origin}", pauses=(3600,), timeouts=long)
        until(lambda: receiver.received and hanging.received, 30, "received while twenty are due elsewhere")
        until(lambda: counted(client, "delivered"), 30, "delivered while others hang")
        assert put_off(client) == 0
        time.sleep(0.2)
        assert len(hanging.received) == 4, "at one receiver at once"
        released.set()
        until(lambda: put_off(client) == 20, 30, "all are to be tried again")
    finally:
        released.set()
        hanging.stop()
    assert (len(hanging.received), len(receiver.received)) == (20, 1)


def test_many_deliveries_to_one_receiver_follow_each_other_at_once(client, slow_jobs, receiver):
    for number in range(30):
        order(slow_jobs, receiver.origin, f"{number:032x}")
        succeed(slow_jobs)
    hooks = Webhooks(client, slow_jobs, Allow.of(receiver.origin), (SECRET,), "")
    for _ in range(3):
        hooks.tick()
        time.sleep(0.6)
    hooks.stop()
    assert counted(client, "delivered") == 30, "in fewer ticks than a receiver has slots for"


def test_who_is_stopped_begins_none_any_more_and_takes_no_try_of_those_that_wait(
    client, slow_jobs, until, caplog
):
    released = threading.Event()
    busy = Receiver(lambda: released.wait(120) and 200)
    ids = [f"{number:032x}" for number in range(6)]
    for id in ids:
        order(slow_jobs, busy.origin, id)
        succeed(slow_jobs)
    hooks = Webhooks(
        client, slow_jobs, Allow.of(busy.origin), (SECRET,), "", timeouts=Timeouts(120, 120, 120)
    )
    periodic = Periodic("webhooks", 0.1, hooks.tick)
    stopping = threading.Thread(target=hooks.stop)
    try:
        periodic.start()
        until(lambda: len(busy.received) == 4, 30, "as many as one receiver is sent at once")
        stopping.start()
        time.sleep(0.2)
        released.set()
        stopping.join(60)
        periodic.stop()
    finally:
        released.set()
        busy.stop()
    assert (counted(client, "delivered"), len(busy.received)) == (4, 4)
    tries = [client.hget(f"{{autochrome}}:webhook:{id}", "tries") for id in ids]
    assert [int(each) for each in tries if each is not None] == [0, 0]
    assert not said(caplog, "periodic_failed")


def test_receivers_that_hang_are_left(client, slow_jobs, deliver, until):
    released = threading.Event()
    hanging = Receiver(lambda: released.wait(120) and 200)
    try:
        for number in range(5):
            order(slow_jobs, hanging.origin, f"{number:032x}")
            succeed(slow_jobs)
        deliver(hanging.origin, pauses=(3600,))
        until(lambda: put_off(client) == 5, 30, "all are to be tried again")
    finally:
        released.set()
        hanging.stop()


def test_what_a_process_that_died_had_under_way_is_delivered_by_another(
    client, slow_jobs, receiver, deliver, until, monkeypatch
):
    monkeypatch.setattr("service.webhooks.LEASE", 0.2)
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    released = threading.Event()
    network = Network(look_up=lambda *_: released.wait(60) and [])
    dying = deliver(receiver.origin, network=network, timeouts=Timeouts(5, 5, 5))
    until(lambda: client.hget("{autochrome}:webhook:" + ID, "tries"), 5, "begun")
    dying.tick = lambda: None
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "delivered")
    released.set()
    assert len(receiver.received) == 1


def test_a_delivery_is_made_at_once_and_counts_one_try_though_answers_are_lost(
    client, slow_jobs, receiver, deliver, until, lose_answers
):
    order(slow_jobs, f"{receiver.origin}/hook")
    slow_jobs.cancel(ID)
    lose_answers(2)
    deliver(receiver.origin)
    until(lambda: receiver.received, 5, "it is delivered, and no lease has to end before")
    until(lambda: slow_jobs.counters().get("webhooks:delivered") == 1, 5, "and counted")
    (remembered,) = client.keys("{autochrome}:webhooks:*")
    assert receiver.origin not in client.get(remembered)
    assert 0 < client.pttl(remembered) <= 60_000


def test_many_workers_deliver_each_once(client, slow_jobs, receiver, deliver, until):
    for number in range(30):
        order(slow_jobs, receiver.origin, f"{number:032x}")
        succeed(slow_jobs)
    for _ in range(3):
        deliver(receiver.origin)
    until(lambda: is_over(client), 10, "all delivered")
    ids = [headers["webhook-id"] for headers, _ in receiver.received]
    assert len(ids) == len(set(ids)) == 30


def test_what_is_not_delivered_is_erased_with_its_job(client, slow_jobs, receiver, deliver, until):
    receiver.answers = [500]
    order(slow_jobs, receiver.origin)
    succeed(slow_jobs)
    deliver(receiver.origin, pauses=(0.3,))
    until(lambda: receiver.received, 5, "a first try")
    slow_jobs.cancel(ID)
    assert is_over(client)
    time.sleep(0.4)
    assert len(receiver.received) == 1
    assert receiver.origin not in str([client.dump(key) for key in client.scan_iter("*")])


def test_after_its_time_nothing_of_a_job_is_sent_even_before_it_is_erased(
    client, slow_jobs, receiver, deliver, until
):
    order(slow_jobs, receiver.origin, keep_for=0.5)
    succeed(slow_jobs)
    time.sleep(0.5)
    deliver(receiver.origin)
    until(lambda: is_over(client), 5, "dropped")
    assert not receiver.received
    assert counted(client, "erased") == 1


def test_a_webhook_is_not_led_to_an_inner_address(client, slow_jobs, receiver, deliver, until):
    port = receiver.server_port
    lookups: list[list[str]] = [["93.184.216.34"], ["127.0.0.1"]]
    dialed: list[str] = []

    def dial(address: str, _: int, seconds: float) -> object:
        from httpcore import SyncBackend

        dialed.append(address)
        return SyncBackend().connect_tcp("127.0.0.1", port, timeout=seconds)

    receiver.answers = [500, 200]
    order(slow_jobs, "http://hooks.example/")
    succeed(slow_jobs)
    network = Network(look_up=lambda *_: lookups.pop(0) if lookups else ["10.0.0.1"], dial=dial)
    deliver("hooks.example", pauses=(0.01, 0.01), network=network)
    until(lambda: is_over(client), 5, "given up")
    assert dialed == ["93.184.216.34"]  # at the second try the name led here
    assert counted(client, "given_up") == 1


@pytest.mark.parametrize(
    ("hosts", "url", "problem"),
    [
        ("", "https://hooks.example/", "webhook_disabled"),
        ("hooks.example", "https://other.example/", "url_not_allowed"),
        ("hooks.example", "file:///etc/passwd", "url_not_allowed"),
        ("hooks.example", "https://hooks.example:8443/", "url_not_allowed"),
    ],
)
def test_at_the_door_a_webhook_is_refused_where_it_is_not_enabled(hosts, url, problem):
    with pytest.raises(Problem, match=problem):
        refuse_unless_allowed(url, Allow.of(hosts))
