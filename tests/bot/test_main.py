"""Where the bot reads mentions, and how it signs in to read them."""

from __future__ import annotations

import pytest
from fake_reddit.server import REFRESH_TOKEN

from bot.reddit import SignInError

HOUR, DAY = 3600.0, 24 * 3600.0
CLOSED = [{"private": True}, {"banned": True}, {"quarantined": True}]


@pytest.fixture
def start(here, quick_service):
    return lambda **changed: here(bot_service_url=quick_service.url, **changed)


def rounds(bot, count=3) -> None:
    """So many, with the pauses that it makes between them."""
    for _ in range(count):
        bot.ahead += bot.loop.round()


def test_a_mention_that_somebody_read_before_the_bot_is_answered_at_the_next_sweep(server, shown, start):
    bot = start(bot_sweep_interval=HOUR, bot_retry_for=HOUR)
    rounds(bot)
    server.person("ben").comment(shown(), "u/colorizebot")
    [notice] = server.bot.unread()
    notice.new = False
    rounds(bot)
    assert server.bot.comments() == []
    bot.ahead += HOUR
    bot.work(server.bot.comments)
    assert server.bot.comments()[0].parent is notice.thing
    bot.ahead += HOUR
    rounds(bot)
    assert len(server.calls_to("/message/mentions")) == 3
    assert len(server.bot.comments()) == 1
    assert bot.states() == {"replied": 1}


@pytest.mark.usefixtures("retry_at_once")
def test_it_signs_in_with_a_refresh_token_instead_of_a_password(server, shown, start):
    bot = start(reddit_password="", reddit_refresh_token=REFRESH_TOKEN)
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(server.bot.comments)
    server.clock.advance(DAY + 1)
    server.person("cleo").comment(shown(), "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 2)
    requests = [call.form for call in server.calls_to("/api/v1/access_token")]
    requests = [form for form in requests if form["grant_type"] != "client_credentials"]  # what others see
    assert len(requests) == 2, "the first has become too old"
    for form in requests:
        assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", REFRESH_TOKEN)
        assert "password" not in form


@pytest.mark.parametrize("closed", CLOSED, ids=lambda traits: next(iter(traits)))
def test_a_subreddit_that_cannot_be_read_stops_neither_the_others_nor_the_inbox(server, shown, start, closed):
    server.subreddit("Secret", **closed)
    bot = start(bot_subreddits="Secret+OldPhotos")
    server.person("ben").comment(shown(), "colorizebot")
    server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 2)
    assert bot.states() == {"replied": 2}


@pytest.mark.parametrize("closed", [*CLOSED, None], ids=["private", "banned", "quarantined", "never"])
def test_when_none_can_be_read_mentions_are_answered_and_the_log_says_why(
    server, shown, start, caplog, closed
):
    if closed:
        server.subreddit("Secret", **closed)
    bot = start(bot_subreddits="Secret")
    server.person("cleo").comment(shown(), "u/colorizebot")
    bot.work(server.bot.comments)
    assert bot.states() == {"replied": 1}
    assert "stream_failed setting=BOT_SUBREDDITS" in caplog.text


def test_a_stream_that_opens_again_is_read_again(server, shown, start):
    secret = server.subreddit("OldPhotos", private=True)
    bot = start(bot_subreddits="OldPhotos")
    rounds(bot)
    secret.private = False
    server.person("ben").comment(shown(), "colorizebot")
    bot.work(server.bot.comments)
    assert bot.states() == {"replied": 1}


@pytest.mark.parametrize("status", [400, 401])
def test_a_token_that_reddit_refuses_is_a_wrong_setting_whatever_the_status(server, start, status):
    bot = start()
    server.fail("/api/v1/access_token", status)
    with pytest.raises(SignInError):
        bot.loop.reddit.me()
