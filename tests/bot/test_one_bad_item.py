"""One comment, one entry or one refusal that goes wrong never stops the others."""

from __future__ import annotations

import pytest

RATELIMIT = 421
"""Seconds that the fake's words say: seven minutes, and one second more."""


@pytest.fixture
def bot(here, quick_service):
    return here(bot_service_url=quick_service.url)


def test_a_comment_that_reddit_holds_back_holds_back_no_delete(server, shown, bot, ask):
    answer = ask("ben", shown())
    held = server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    fault = server.fail("/api/comment", "RATELIMIT")
    bot.work(lambda: fault.hits)
    began = bot.ahead
    server.person("dan").comment(shown("c.jpg"), "u/colorizebot")
    ask("ben", answer, "delete")
    assert server.bot.comments() == []
    assert bot.ahead - began < RATELIMIT / 2
    asked = len(server.calls_to("/api/comment"))
    bot.loop.round()
    assert len(server.calls_to("/api/comment")) == asked == 2, "no comment is tried before its time"
    bot.ahead = began + RATELIMIT + 1
    bot.work(lambda: len(server.bot.comments()) == 2)
    assert held in [said.parent for said in server.bot.comments()]


def test_deletes_come_before_all_that_waits_with_them(server, shown, bot, ask):
    answer = ask("ben", shown())
    before = len(server.calls)
    nothing_here = server.person("ann").post("OldPhotos", "Words", text="no picture")
    server.person("ben").comment(answer, "delete")
    for name in ("cleo", "dan"):  # of a look at the inbox, the newest is taken first
        server.person(name).comment(nothing_here, "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 2)
    written = [call.path for call in server.calls[before:] if call.path in ("/api/del", "/api/comment")]
    assert written == ["/api/del", "/api/comment", "/api/comment"]


@pytest.mark.parametrize("odd", ["a message without a text", "a comment without a text", "an unknown kind"])
def test_what_cannot_be_read_in_the_inbox_is_passed_over_and_marked(server, shown, bot, odd):
    eve = server.person("eve")
    if odd == "a comment without a text":
        eve.comment(shown(), "u/colorizebot").text = None
    else:
        eve.message("colorizebot", "Hello", None if odd == "a message without a text" else "An award!")
    if odd == "an unknown kind":
        server.bot.unread()[0].kind = "award"
    good = server.person("ben").comment(shown("b.jpg"), "u/colorizebot")
    bot.work(lambda: not server.bot.unread())
    assert [said.parent for said in server.bot.comments()] == [good]


def test_where_even_its_mark_is_refused_the_others_are_answered(server, shown, bot):
    server.person("eve").message("colorizebot", "Hello", None)
    good = server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/api/read_message", 400, times=3)
    bot.work(server.bot.comments)
    assert [said.parent for said in server.bot.comments()] == [good]


@pytest.mark.usefixtures("retry_at_once")
def test_a_thread_that_reddit_does_not_show_stops_no_other(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    lost = server.fail("/api/comment", 503, when="after")
    bot.work(lambda: lost.hits)
    server.fail("/comments/*", 503, times=None)
    server.fail("/user/*", 503, times=None)
    good = server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    bot.ahead += 60
    bot.loop.round()
    assert good in [said.parent for said in server.bot.comments()]


@pytest.mark.usefixtures("retry_at_once")
def test_a_share_link_that_reddit_breaks_over_stops_nobody_else(server, shown, bot):
    server.fail("/r/OldPhotos/s/*", 500, times=None)
    link = "https://www.reddit.com/r/OldPhotos/s/AbCdEf123"
    bad = server.person("eve").comment(shown(), f"u/colorizebot {link}")
    good = server.person("ben").comment(shown("b.jpg"), "u/colorizebot")
    bot.work(lambda: any(said.parent is good for said in server.bot.comments()))
    bot.ahead += 3600
    bot.work(lambda: any(said.parent is bad for said in server.bot.comments()))
    assert len(server.calls_to("/r/OldPhotos/s/AbCdEf123")) < 5


def test_a_reply_that_reddit_does_not_let_it_delete_stops_no_sweep(server, shown, bot, ask, quick_service):
    posts = [shown(name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    answers = [ask("ben", post) for post in posts]
    for post in posts:
        post.removed_by = "deleted"
    fault = server.fail("/api/del", 403)
    bot.ahead += 25 * 3600
    bot.work(lambda: len(quick_service.jobs) == 1)
    assert fault.hits
    assert sorted(answer.deleted for answer in answers) == [False, True, True]
    assert bot.loop.database.progress().swept_at > bot.now() - 3600, "it is not due again at once"
    bot.ahead += 25 * 3600
    bot.work(lambda: not quick_service.jobs)
    assert all(answer.deleted for answer in answers)


@pytest.mark.parametrize("read_from", ["mentions", "a stream"])
def test_what_cannot_be_read_elsewhere_is_passed_over_too(server, shown, here, quick_service, read_from):
    bot = here(
        bot_service_url=quick_service.url,
        bot_subreddits="OldPhotos" if read_from == "a stream" else "",
        bot_sweep_interval=3600.0,
    )
    bot.loop.round()
    odd = server.person("eve").comment(shown(), "u/colorizebot")
    good = server.person("ben").comment(shown("b.jpg"), "u/colorizebot")
    odd.text = None
    for entry in server.bot.unread():
        entry.new = False  # somebody has read it on the bot's account
    bot.ahead += 3601
    bot.work(server.bot.comments)
    assert [said.parent for said in server.bot.comments()] == [good]
    assert bot.loop.database.progress().swept_at > bot.now() - 3600
