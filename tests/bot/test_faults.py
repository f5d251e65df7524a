"""Whatever goes wrong, and wherever: each mention is answered, and none twice."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing

import httpx
import pytest

from bot.__main__ import END_AFTER, EXIT_AFTER

LONG = 60
"""Seconds that a process on a busy machine may take for anything."""
ANYTHING = [429, 403, 404, 500, 502, 503, "timeout", "truncated", "reset"]
FAULTS = [
    *(("/message/unread", "before", kind) for kind in [*ANYTHING, "duplicate"]),
    *(("/api/info", "before", kind) for kind in [*ANYTHING, "duplicate"]),
    *(("/api/comment", "before", kind) for kind in [*ANYTHING, "RATELIMIT"]),
    *(("/api/comment", "after", kind) for kind in [500, 502, 503, "timeout", "truncated", "reset"]),
    *(("/api/read_message", "before", kind) for kind in ANYTHING),
    *(("/api/v1/access_token", "before", kind) for kind in [429, 500, "timeout", "truncated"]),
]


@pytest.fixture
def bot(here, quick_service):
    return here(bot_service_url=quick_service.url, bot_timeout=0.25, bot_poll_interval=5)


@pytest.mark.parametrize(("path", "when", "kind"), FAULTS)
def test_a_mention_is_answered_once_whatever_goes_wrong_on_reddit(
    server, shown, bot, quick_service, path, when, kind
):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail(path, kind, when=when, seconds=0.4 if kind == "timeout" else 7)
    bot.work(lambda: server.bot.comments() and not server.bot.unread(), rounds=120)
    assert fault.hits == 1
    for _ in range(3):
        bot.loop.round()
    assert len(server.bot.comments()) == 1
    assert bot.states() == {"replied": 1}
    assert len(quick_service.jobs) == 1


def test_reading_once_says_whether_the_inbox_could_be_read(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/message/unread", 503, times=1)
    assert not bot.loop.run_once()
    assert server.bot.comments() == []


def test_where_reddit_says_when_to_retry_nothing_is_sent_before(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=90)
    waits = []
    while not fault.hits:
        waits.append(bot.loop.round())
        bot.ahead += 0.1
    assert waits[-1] == 90


@pytest.mark.parametrize("path", ["/api/v1/access_token", "/message/unread", "/api/comment"])
def test_for_an_answer_it_waits_no_longer_than_it_is_told(server, shown, bot, path):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail(path, "timeout", seconds=60)
    began = time.monotonic()
    bot.work(server.bot.comments)
    assert 0.25 <= time.monotonic() - began < 50


def test_a_thousand_failures_later_it_is_still_answered(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    outage = server.fail("*", 503, times=20)
    bot.work(server.bot.comments, rounds=200)
    assert outage.hits == 20


def test_a_mention_that_is_deleted_meanwhile_gets_no_answer_and_its_job_is_erased(
    server, shown, quick_service, bot
):
    ben = server.person("ben")
    mention = ben.comment(shown(), "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=5)
    bot.work(lambda: fault.hits)
    assert bot.states() == {"colored": 1}
    assert len(quick_service.jobs) == 1
    ben.delete(mention)
    bot.work(lambda: bot.states() == {"given_up": 1})
    assert server.bot.comments() == []
    assert quick_service.jobs == {}


@pytest.mark.parametrize(
    ("name", "is_below_the_answer", "text"),
    [
        ("ben", False, "u/colorizebot delete"),
        ("ann", True, "u/colorizebot delete"),
        ("ann", True, "delete"),
    ],
)
def test_a_delete_while_nobody_knows_whether_it_was_said_is_heard_when_that_is_known(
    server, shown, here, quick_service, name, is_below_the_answer, text
):
    bot = here(bot_service_url=quick_service.url, bot_timeout=0.25, bot_retry_delay=60)
    post = shown()
    server.person("ben").comment(post, "u/colorizebot")
    fault = server.fail("/api/comment", 502, when="after")
    bot.work(lambda: fault.hits)
    [answer] = server.bot.comments()
    server.person(name).comment(answer if is_below_the_answer else post, text)
    bot.ahead += 2
    bot.loop.round()
    assert bot.states()["replying"] == 1
    bot.work(lambda: answer.deleted, rounds=200)
    assert (bot.states(), quick_service.jobs) == ({"erased": 2}, {})


def test_a_post_that_is_deleted_meanwhile_is_not_shown_again(server, shown, bot):
    post = shown()
    ben = server.person("ben")
    ben.comment(post, "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=5)
    bot.work(lambda: fault.hits)
    server.person("ann").delete(post)
    bot.work(lambda: bot.states() == {"refused": 1})
    assert server.bot.comments() == []
    [note] = ben.unread()
    assert "That post has been removed" in note.thing.text


def test_while_the_service_is_down_mentions_wait(server, shown, here, quick_service, unused_url):
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = here(bot_service_url=unused_url)
    for _ in range(3):
        bot.ahead += bot.loop.round()
    assert bot.states() == {"seen": 1}
    assert server.bot.comments() == []
    bot = here(bot_service_url=quick_service.url)
    bot.ahead += 3600
    bot.work(server.bot.comments)


def test_a_photo_whose_arrival_the_service_could_not_confirm_is_not_colored_twice(
    server, shown, bot, quick_service
):
    server.person("ben").comment(shown(), "u/colorizebot")
    quick_service.lost = 2
    bot.work(server.bot.comments)
    assert (len(quick_service.sent), len(set(quick_service.sent))) == (3, 1)


def test_a_photo_whose_answer_was_lost_is_erased_where_the_mention_was_edited_meanwhile(
    server, shown, bot, quick_service
):
    mention = server.person("ben").comment(shown(), "u/colorizebot")
    quick_service.lost = 1
    bot.ahead += bot.loop.round()
    [lost] = quick_service.jobs
    mention.text = "u/colorizebot vivid"
    bot.work(server.bot.comments)
    assert "More vivid than I would." in server.bot.comments()[0].text
    assert lost not in quick_service.jobs, "its secret is the bot's own, whatever became of the answer"


@pytest.fixture
def after_an_outage(server, shown, here, quick_service, unused_url):
    """A bot whose service was away for so long that a mention was put off nine times, and is there again."""
    server.person("ben").comment(shown(), "u/colorizebot")
    down = here(bot_service_url=unused_url)
    for _ in range(9):
        down.loop.round()
        down.ahead += 3600
    bot = here(bot_service_url=quick_service.url)
    bot.ahead = down.ahead
    return bot


def test_a_refusal_after_an_outage_may_be_a_mishap(server, after_an_outage):
    fault = server.fail("/api/comment", 403)
    after_an_outage.ahead += 3600
    after_an_outage.loop.round()
    after_an_outage.ahead += 3600
    after_an_outage.work(lambda: after_an_outage.states() == {"replied": 1})
    assert fault.hits
    assert "Here it is in color" in server.bot.comments()[0].text


def test_one_failure_after_an_outage_is_not_the_last_try(server, after_an_outage, monkeypatch):
    decide, failed = after_an_outage.loop.policy.decide, []

    def fail_once(context):
        if not failed:
            failed.append(context)
            raise ZeroDivisionError
        return decide(context)

    monkeypatch.setattr(after_an_outage.loop.policy, "decide", fail_once)
    after_an_outage.loop.round()
    after_an_outage.ahead += 3600
    after_an_outage.work(server.bot.comments)
    assert failed
    assert "Here it is in color" in server.bot.comments()[0].text


def test_a_reply_that_cannot_be_looked_for_once_after_an_outage_is_looked_for_again(server, after_an_outage):
    server.fail("/api/comment", 502, when="after")
    hidden = [server.fail("/comments/*", 403), server.fail("/user/*", 403)]
    for _ in range(5):
        after_an_outage.loop.round()
        after_an_outage.ahead += 3600
    assert any(fault.hits for fault in hidden)
    assert after_an_outage.states() == {"replied": 1}


def test_where_the_service_stays_down_it_is_said_in_the_end(server, shown, here, unused_url):
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = here(bot_service_url=unused_url, bot_retry_for=30, bot_poll_interval=5)
    bot.work(server.bot.comments)
    assert "the service behind me is not well today" in server.bot.comments()[0].text
    assert bot.states() == {"refused": 1}


def test_a_subreddit_that_bans_the_bot_is_not_asked_again(server, shown, bot):
    server.subreddit("OldPhotos", banned_users={"colorizebot"})
    ben = server.person("ben")
    post = shown()
    ben.comment(post, "u/colorizebot")
    bot.work(lambda: bot.states() == {"refused": 1})
    assert "I am not welcome in that community" in ben.unread()[0].thing.text
    ben.comment(post, "u/colorizebot again")
    before = len(server.calls_to("/api/comment"))
    bot.work(lambda: bot.states() == {"refused": 1, "given_up": 1})
    assert len(server.calls_to("/api/comment")) == before


def test_one_that_breaks_the_bot_stops_no_other(server, shown, bot, monkeypatch):
    bad = server.person("ben").comment(shown(), "u/colorizebot")
    good = server.person("cleo").comment(shown("other.jpg"), "u/colorizebot")
    decide = bot.loop.policy.decide

    def break_upon(context):
        if context.mention.fullname == bad.fullname:
            raise ZeroDivisionError("Grandma in 1931")
        return decide(context)

    monkeypatch.setattr(bot.loop.policy, "decide", break_upon)
    bot.work(lambda: any(comment.parent is good for comment in server.bot.comments()))
    bot.work(lambda: bot.states() == {"replied": 1, "refused": 1})
    [said] = [comment.text for comment in server.bot.comments() if comment.parent is bad]
    assert "I tried to color this one and failed" in said


# Killed: the database's file and the inbox are all that the next process has.


@pytest.fixture
def start(launch, bot_settings, service):
    """`python -m bot`; with other settings, if told."""
    return lambda **changed: launch(
        "-m",
        "bot",
        prefix="",
        **{
            **bot_settings,
            "bot_service_url": service.url,
            "bot_ignore_bottiquette": True,
            "bot_poll_interval": 0.1,
            **changed,
        },
    )


def kill(bot) -> None:
    bot.process.send_signal(signal.SIGKILL)
    bot.process.wait()


def answered_once(server, until) -> None:
    until(lambda: server.bot.comments() and not server.bot.unread(), LONG, "an answer that is marked")
    assert len(server.bot.comments()) == 1


@pytest.mark.parametrize(
    ("state", "path", "when", "kind"),
    [
        ("seen", "/api/info", "before", "timeout"),
        ("colored", "/api/comment", "before", 429),
        ("replying, and it is not said", "/api/comment", "before", "timeout"),
        ("replying, and it is said", "/api/comment", "after", "timeout"),
        ("replied, and not marked", "/api/read_message", "before", "timeout"),
        ("replied, and marked without knowing it", "/api/read_message", "after", "timeout"),
    ],
)
def test_killed_in_any_state_it_answers_once_all_the_same(
    server, shown, start, until, bot_settings, state, path, when, kind
):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail(path, kind, when=when, seconds=2 if kind == 429 else 60)
    bot = start()
    until(lambda: fault.hits, LONG, state)
    if kind == 429:  # it has written down by then that nothing was said
        bot.line("reddit_throttled", LONG)
    kill(bot)
    with closing(sqlite3.connect(bot_settings["bot_state_dir"] / "bot.sqlite")) as database:
        assert database.execute("SELECT state FROM mentions").fetchall() == [(state.partition(",")[0],)]
    looked = len(server.calls_to("/message/unread"))
    start()
    until(lambda: len(server.calls_to("/message/unread")) > looked + 1, LONG, "a whole round of the next one")
    answered_once(server, until)


def test_killed_between_upload_and_comment_it_answers_once(server, shown, start, until, authority):
    server.subreddit("OldPhotos", allowed_media=["static"])
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/uploaded-media", "timeout", when="after", seconds=60)
    bot = start(ssl_cert_file=authority)
    until(lambda: fault.hits, LONG, "an upload")
    kill(bot)
    start(ssl_cert_file=authority)
    answered_once(server, until)
    assert server.bot.comments()[0].media
    assert len(server.calls_to("/api/media/asset.json")) == 2


def test_killed_while_it_is_queued_it_is_colored_once(server, shown, start, until, service):
    server.person("ben").comment(shown(), "u/colorizebot")
    workers = [it for it in service.family() if "worker" in it.cmdline()]
    assert workers
    for worker in workers:
        worker.suspend()
    try:
        bot = start()
        bot.line("mention_queued mention=t1_c1", LONG)
        kill(bot)
        again = start()
        again.line("bot_ready", LONG)
    finally:
        for worker in workers:
            worker.resume()
    answered_once(server, until)


@pytest.mark.parametrize("sleeper", ["prawcore", "a silent Reddit"])
def test_it_ends_when_it_is_told_to_whoever_sleeps(server, start, until, sleeper):
    if sleeper == "prawcore":  # it sleeps until the window of 600 s ends when nothing is left of the budget
        server.site.budget = 1
        bot = start(bot_timeout=600)
        until(lambda: server.calls_to("/api/v1/me"), LONG, "the one call that it has")
    else:
        fault = server.fail("/message/unread", "timeout", seconds=600)
        bot = start(bot_timeout=600)
        until(lambda: fault.hits, LONG, "a call without an answer")
    bot.process.send_signal(signal.SIGTERM)
    assert bot.process.wait(60) == 0, (
        "it does not sleep to the end; END_AFTER and EXIT_AFTER are the seconds it has"
    )


STUCK = """
import ctypes, sys
from bot import __main__ as program

class Stuck:
    reddit = None

    def run(self):
        lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
        lock(mutex)
        print("stuck", file=sys.stderr, flush=True)
        lock(mutex)  # as in a resolver: no handler is called

program.build = lambda *settings, **options: Stuck()
program._sign_in = lambda *of: None
sys.argv = ["bot"]
program.main()
"""


def test_it_ends_also_where_no_handler_is_called(launch, bot_settings):
    bot = launch("-c", STUCK, prefix="", **bot_settings)
    bot.line("stuck", LONG)
    bot.process.send_signal(signal.SIGTERM)
    assert bot.process.wait(60) == 0


def test_what_it_has_to_end_is_less_than_two_seconds():
    assert END_AFTER < EXIT_AFTER < 2


def test_killed_while_it_erases_it_erases_to_the_end(server, shown, start, until, service):
    ben = server.person("ben")
    ben.comment(shown(), "u/colorizebot")
    bot = start()
    [reply] = until(server.bot.comments, LONG, "an answer")
    fault = server.fail("/api/del", "timeout", when="after", seconds=60)
    ben.comment(reply, "delete")
    until(lambda: fault.hits, LONG, "erasing")
    kill(bot)
    link = reply.text.partition("](")[2].partition(")")[0]
    bot = start()
    bot.line("mention_erased mention=t1_c1", LONG)
    until(lambda: not server.bot.unread(), LONG, "the command is marked as read")
    job = link.rpartition("/")[2]
    assert httpx.get(f"{service.url}/v1/colorizations/{job}/result").status_code == 410
    assert server.bot.comments() == []
