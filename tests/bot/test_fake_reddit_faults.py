"""What the fake Reddit does wrong at will, as the real PRAW sees it."""

from __future__ import annotations

from typing import Any

import httpx
import praw
import prawcore
import pytest
from fake_reddit import Ports, Server


@pytest.mark.usefixtures("retry_at_once")
@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (403, prawcore.Forbidden, "403"),
        (404, prawcore.NotFound, "404"),
        (429, prawcore.TooManyRequests, "429"),
        (500, prawcore.ServerError, "500"),
        (503, prawcore.ServerError, "503"),
        ("RATELIMIT", praw.exceptions.RedditAPIException, "7 minutes"),
        ("THREAD_LOCKED", praw.exceptions.RedditAPIException, "Comments are locked"),
        ("truncated", prawcore.BadJSON, "200"),
        ("reset", prawcore.RequestException, "Connection"),
        ("timeout", prawcore.RequestException, "Connection"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_goes_wrong_at_will(
    server: Server, reddit: praw.Reddit, kind: int | str, error: type, words: str, when: str
) -> None:
    post = server.person("ann").post("pics")
    fault = server.fail("/api/comment", kind, when=when, times=None, method="post", seconds=0.1)
    with pytest.raises(error, match=words):
        reddit.submission(post.id).reply("hello")
    tried = 3 if kind in {500, 503, "reset", "timeout"} else 1
    happened = tried if when == "after" or kind == "truncated" else 0
    assert (fault.hits, len(server.bot.comments())) == (tried, happened), "prawcore repeats even what writes"
    assert {call.fault for call in server.calls_to("/api/comment")} == {kind}
    server.heal()
    assert reddit.submission(post.id).reply("hello").body == "hello"


@pytest.mark.usefixtures("retry_at_once")
def test_a_timeout_is_the_callers(server: Server) -> None:
    class Hasty(prawcore.Requestor):
        """PRAW's own setting `timeout` does not reach its calls: prawcore gives each its 16 s."""

        def request(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
            return super().request(*args, timeout=0.2, **kwargs)

    reddit = praw.Reddit(**server.settings(), requestor_class=Hasty)
    server.fail("/message/unread", "timeout", times=3)
    with pytest.raises(prawcore.RequestException, match="timed out"):
        list(reddit.inbox.unread())
    assert [call.status for call in server.calls_to("/message/unread")] == [None] * 3


def test_faults_skip_and_count(server: Server, reddit: praw.Reddit) -> None:
    post = reddit.submission(server.person("ann").post("pics").id)
    server.fail("/api/comm*", 429, skip=1, times=2, seconds=7)
    post.reply("one")
    for _ in range(2):
        with pytest.raises(prawcore.TooManyRequests) as raised:
            post.reply("two")
        assert raised.value.retry_after == "7"
    post.reply("three")
    assert [comment.text for comment in server.bot.comments()] == ["one", "three"]
    server.fail("/message/unread", "duplicate")
    server.person("ann").comment(server.world.comments["c1"], "thanks")
    assert [item.id for item in reddit.inbox.unread()] == ["c3", "c3"]


def test_the_budget_of_a_window(ports: Ports) -> None:
    with Server(at=ports, budget=3, time=lambda: 1_700_000_000.0) as server:
        reddit = praw.Reddit(**server.settings())
        budget = []
        for _ in range(3):
            reddit._core._rate_limiter.next_request_timestamp_ns = None
            reddit.user.me(use_cache=False)
            budget.append((reddit.auth.limits["used"], reddit.auth.limits["remaining"]))
            server.clock.advance(60)
        assert budget == [(1, 2), (2, 1), (3, 0)]
        reddit._core._rate_limiter.next_request_timestamp_ns = None
        with pytest.raises(prawcore.TooManyRequests) as raised:
            reddit.user.me(use_cache=False)
        assert raised.value.retry_after == "420"
        server.clock.advance(600 - 3 * 60)
        reddit._core._rate_limiter.next_request_timestamp_ns = None
        assert reddit.user.me(use_cache=False).name == "colorizebot"


@pytest.mark.parametrize(
    ("path", "how"),
    [
        ("/api/comment", {"kind": "truncate"}),
        ("/api/comment", {"kind": 200}),
        ("/api/comment/", {"kind": 500}),
        ("/api/comment", {"kind": 500, "when": "later"}),
        ("/api/comment", {"kind": 500, "tmies": 2}),
    ],
)
def test_a_fault_that_could_not_happen_is_refused(server: Server, path: str, how: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        server.fail(path, **how)
    assert httpx.post(f"{server.url}/fake/faults", json={"path": path, **how}).status_code == 422
    assert httpx.get(f"{server.url}/fake/faults").json() == []


def test_misspelled_traits_are_refused(server: Server) -> None:
    ann = server.person("ann")
    with pytest.raises(AttributeError, match="lokked"):
        ann.post("pics", lokked=True)
    with pytest.raises(AttributeError, match="privat"):
        server.subreddit("pics", privat=True)
    post = ann.post("pics")
    with pytest.raises(AttributeError, match="archive"):
        post.archive = True  # type: ignore[attr-defined]
    words = {"subreddit": "pics", "lokked": True}
    assert httpx.post(f"{server.url}/fake/people/ann/post", json=words).status_code == 422
    assert httpx.post(f"{server.url}/fake/people/ann/post", content="{").status_code == 422
    assert [post.fullname for post in ann.posts()] == [post.fullname]


def test_a_body_that_is_no_json_is_the_callers_fault(server: Server, reddit: praw.Reddit) -> None:
    reddit.user.me()
    headers = {"authorization": "bearer token-1", "user-agent": "a test", "content-type": "application/json"}
    answer = httpx.post(f"{server.url}/api/submit_gallery_post.json", content="{", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (400, "Bad Request")
