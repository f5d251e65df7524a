"""Color by URL over real HTTP: a JSON body, a server that has the photo, and every way in which it does not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service import errors
from service.auth import Keys, Scope
from service.outbound import Allow

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Web(ThreadingHTTPServer):
    """Path → status, media type and body."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, str, bytes]] = {}
        self.requests: list[str] = []
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.path == "/slow":
            self.server.released.wait(60)
        status, kind, body = self.server.pages.get(self.path, (404, "text/html", b"<p>Nothing here"))
        self.send_response(status)
        self.send_header("Location", kind)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def web(gray_photo) -> Iterator[Web]:
    web = Web()
    web.pages["/photo"] = (200, "image/png", gray_photo("PNG"))
    thread = threading.Thread(target=web.serve_forever, args=(0.02,))
    thread.start()
    yield web
    web.released.set()
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def api(serve, settings, client, web):
    return serve(settings.model_copy(update={"url_hosts": Allow.of(f"{web.origin} localhost")}))


def ask(api, body: object, **headers: str):
    return send_json(api, json.dumps(body).encode(), **headers)


def send_json(api, body: bytes, **headers: str):
    headers = {"Content-Type": "application/json", **headers}
    return api.post("/v1/colorizations", content=body, headers=headers)


def check_problem(answer, code: str, words: str = "") -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (
        errors.KINDS[code].status,
        "application/problem+json",
    )
    assert answer.json()["code"] == code
    assert words in answer.json()["detail"]


def test_a_photo_is_fetched_and_becomes_a_job_like_any_other(api, web, photo_of):
    answer = ask(api, {"url": f"{web.origin}/photo", "vividness": 1.25, "artifacts": ["sidecar"]})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["status"], job["options"]["vividness"], job["options"]["artifacts"]) == (
        "queued",
        1.25,
        ["sidecar"],
    )
    assert photo_of(job["id"]) == web.pages["/photo"][2]
    assert api.get(answer.headers["location"]).json()["id"] == job["id"]


def test_the_same_key_fetches_but_enters_once(api, web):
    body = {"url": f"{web.origin}/photo"}
    first, second = (ask(api, body, **{"Idempotency-Key": "a key"}) for _ in range(2))
    check_problem(first, "idempotency_key_invalid")  # a key has no spaces
    first, second = (ask(api, body, **{"Idempotency-Key": "a-key"}) for _ in range(2))
    assert (first.status_code, first.json()["id"]) == (202, second.json()["id"])
    put = api.put(f"/v1/colorizations/{'ab' * 16}", json=body)
    assert (put.status_code, put.json()["id"]) == (202, "ab" * 16)


def test_it_is_off_until_hosts_are_listed(serve, settings, client, web):
    check_problem(ask(serve(settings), {"url": f"{web.origin}/photo"}), "url_disabled")
    assert not web.requests


def test_a_url_that_leads_elsewhere_is_refused(api, web):
    for url in (
        *("http://127.0.0.1:1/", "http://localhost:22/"),
        *("file:///etc/passwd", "http://photos.example/", "http://2130706433/", "", "\ud800", "http://x\n"),
        "http://user:pw@localhost/",
    ):
        check_problem(ask(api, {"url": url}), "url_not_allowed")
    assert not web.requests


def test_a_name_of_the_inner_network_and_one_that_there_is_not_are_told_apart_by_nothing(
    serve, settings, client
):
    anywhere = serve(settings.model_copy(update={"url_hosts": Allow.of("*")}))
    answers = [
        ask(anywhere, {"url": url})
        for url in (
            *("http://localhost/", "https://localhost/x", "http://127.0.0.1/", "http://10.0.0.1/"),
            *("http://no-such-host.invalid/", "http://[fd00::1]/", "http://192.0.0.192/"),
        )
    ]
    for answer in answers:
        check_problem(answer, "url_failed")
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_a_redirect_out_of_the_list_is_refused(api, web):
    web.pages["/inside"] = (302, "http://169.254.169.254/latest/meta-data/", b"")
    web.pages["/file"] = (301, "file:///etc/passwd", b"")
    for path in web.pages.keys() - {"/photo"}:
        check_problem(ask(api, {"url": web.origin + path}), "url_not_allowed")


def test_what_is_no_photo_is_said_with_what_it_is(api, web):
    web.pages["/page"] = (200, "text/html; charset=utf-8", b"<html>a page about a photo</html>")
    web.pages["/empty"] = (200, "image/jpeg", b"")
    web.pages["/odd"] = (200, "x" * 200, b"neither")
    web.pages["/cut"] = (200, "image/png", web.pages["/photo"][2][:40])
    check_problem(ask(api, {"url": f"{web.origin}/page"}), "url_failed", "text/html")
    check_problem(ask(api, {"url": f"{web.origin}/empty"}), "url_failed")
    odd = ask(api, {"url": f"{web.origin}/odd"})
    check_problem(odd, "url_failed")
    assert "xxx" not in odd.json()["detail"]  # nothing of the other side's choosing
    check_problem(ask(api, {"url": f"{web.origin}/missing"}), "url_failed", "404")
    check_problem(ask(api, {"url": f"{web.origin}/cut"}), "photo_damaged")


def test_a_file_that_is_too_large_is_refused(serve, settings, client, web):
    small = settings.model_copy(update={"url_hosts": Allow.of(web.origin), "max_bytes": 1000})
    check_problem(ask(serve(small), {"url": f"{web.origin}/photo"}), "url_failed", "MiB")


def test_json_that_cannot_be_meant_is_refused(api):
    for body, problem in [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b"\xff", "json_invalid"),
        (b"[]", "json_invalid"),
        (b'"url"', "json_invalid"),
        (b"{}", "json_invalid"),
        (b'{"url": 1}', "json_invalid"),
        (b'{"url": null}', "json_invalid"),
        (b"[" * 60_000, "json_invalid"),
        (b'{"url": "http://localhost/", "x": "' + b"y" * 70_000 + b'"}', "json_invalid"),
        (b'{"url": "http://localhost/", "color": 1}', "option_unknown"),
        (b'{"url": "http://localhost/", "\\ud800": 1}', "option_unknown"),
        (b'{"url": "http://localhost/", "vividness": 9}', "option_invalid"),
        (b'{"url": "http://localhost/", "vividness": NaN}', "option_invalid"),
        (b'{"url": "http://localhost/", "vividness": {"a": []}}', "option_invalid"),
        (b'{"url": "http://localhost/", "webhook": "\\ud800"}', "option_invalid"),
    ]:
        check_problem(send_json(api, body), problem)


def test_options_in_the_query_are_not_passed_over(api, web):
    answer = api.post("/v1/colorizations?vividness=2", json={"url": f"{web.origin}/photo"})
    check_problem(answer, "option_invalid")


def test_slow_hosts_do_not_take_the_threads_of_all_others_nor_one_caller_all_slots(
    serve, settings, client, web, until
):
    behind = {"url_hosts": Allow.of(f"{web.origin} localhost"), "trusted_proxies": ("127.0.0.1",)}
    api = serve(settings.model_copy(update=behind))
    slow = {"url": f"{web.origin}/slow"}
    at = [{"X-Forwarded-For": f"9.9.9.{number}"} for number in range(3)]
    with ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(ask, api, slow, **at[0]) for _ in range(4)]
        until(lambda: len(web.requests) == 4, 10, "four under way")
        check_problem(ask(api, slow, **at[0]), "too_many_at_once")
        waiting += [clients.submit(ask, api, slow, **at[1]) for _ in range(4)]
        until(lambda: len(web.requests) == 8, 10, "eight under way")
        start = time.monotonic()
        check_problem(ask(api, slow, **at[2]), "fetches_busy")
        check_problem(ask(api, {"url": "http://photos.example/"}), "url_not_allowed")  # no use in waiting
        assert api.get("/v1/nets").status_code == 200
        assert time.monotonic() - start < 30
        web.released.set()
        for each in waiting:
            check_problem(each.result(), "url_failed", "404")
    assert ask(api, {"url": f"{web.origin}/photo"}, **at[0]).status_code == 202


def test_a_fetch_is_charged_before_it_is_made_whatever_comes_of_it(serve, settings, client, web):
    listed = {"url_hosts": Allow.of(web.origin), "quota_megapixels_per_minute": 3}
    api = serve(settings.model_copy(update=listed))
    for _ in range(3):
        check_problem(ask(api, {"url": f"{web.origin}/missing"}), "url_failed")
    check_problem(ask(api, {"url": f"{web.origin}/missing"}), "rate_limited")
    assert len(web.requests) == 3


def test_a_key_needs_the_scope(serve, settings, client, web):
    strict = settings.model_copy(update={"url_hosts": Allow.of(web.origin), "anonymous": False})
    api = serve(strict)
    keys = Keys(client)
    body = {"url": f"{web.origin}/photo"}
    check_problem(ask(api, body), "key_missing")
    without = keys.create("without", {Scope.COLORIZE})
    check_problem(ask(api, body, Authorization=f"Bearer {without}"), "scope_missing", "url")
    assert not web.requests
    allowed = keys.create("with", {Scope.COLORIZE, Scope.URL})
    assert ask(api, body, Authorization=f"Bearer {allowed}").status_code == 202


def test_a_webhook_is_refused_at_the_door_unless_its_host_is_listed(serve, settings, client, web, gray_photo):
    def send(api, url: str):
        return api.post("/v1/colorizations", files={"photo": ("a.jpg", gray_photo())}, data={"webhook": url})

    check_problem(send(serve(settings), "https://hooks.example/"), "webhook_disabled")
    hosts = {"webhook_hosts": Allow.of("hooks.example"), "webhook_secret": (SECRET,)}
    api = serve(settings.model_copy(update=hosts))
    check_problem(send(api, "https://other.example/"), "url_not_allowed")
    check_problem(send(api, "file:///etc/passwd"), "url_not_allowed")
    answer = send(api, "https://hooks.example/?token=x")
    assert answer.status_code == 202
    assert "token" not in api.get(answer.headers["location"]).text


def test_the_schema_has_the_address_only_where_it_is_taken(serve, settings, client, web, api):
    def offered(api) -> str:
        contract = api.get("/openapi.json").json()["paths"]["/v1/colorizations"]["post"]
        return str(contract["requestBody"]["content"]["application/json"])

    assert "harbor-1912.jpg" in offered(api)
    assert "harbor-1912.jpg" not in offered(serve(settings))
