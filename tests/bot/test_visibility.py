"""What others do not see is noticed, said to the operator, and a reason to be silent; by few requests."""

from __future__ import annotations

import httpx
import pytest

HOUR = 3600.0
ABOUT = "/user/colorizebot/about"


@pytest.fixture
def bot(here, quick_service, unused_url):
    return here(bot_service_url=quick_service.url, bot_metrics_port=httpx.URL(unused_url).port)


@pytest.fixture
def metrics(unused_url):
    return lambda: httpx.get(f"{unused_url}/metrics").text


def health(bot) -> str:
    return (bot.settings.bot_state_dir / "health").read_text()


def pass_time(bot, seconds: float) -> None:
    bot.ahead += seconds
    bot.loop.round()


@pytest.mark.usefixtures("retry_at_once")
def test_a_shadow_banned_account_falls_silent_until_it_is_seen_again(server, shown, bot, ask, metrics):
    answer = ask("ben", shown())
    server.bot.user.shadow_banned = True
    pass_time(bot, 2 * HOUR)
    assert health(bot) == "shadow_banned\nunseen_replies 1\n"
    assert 'autochrome_bot_held{reason="shadow_banned"} 1.0' in metrics()
    assert "autochrome_bot_unseen_replies 1.0" in metrics()
    mention = server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    for _ in range(5):
        pass_time(bot, 600)
    assert server.bot.comments() == [answer], "nobody would see it"
    server.bot.user.shadow_banned = False
    pass_time(bot, HOUR)
    pass_time(bot, 600)
    bot.work(lambda: any(said.parent is mention for said in server.bot.comments()))
    bot.work(lambda: health(bot) == "ok\n")


@pytest.mark.parametrize("fault", [None, 503, 429])
def test_a_sweep_meanwhile_erases_nothing_also_where_nobody_can_tell(server, shown, bot, ask, fault):
    for number in range(3):
        ask(f"person{number}", shown(f"{number}.jpg"))
    server.bot.user.shadow_banned = True
    if fault:
        server.fail(ABOUT, fault, times=None)
    bot.ahead += 25 * HOUR
    bot.loop.round()
    assert len(server.bot.comments()) == 3
    assert not bot.loop.database.has_opted_out("banned", "OldPhotos")


def test_replies_that_were_removed_are_counted_within_the_hour_and_three_are_enough(
    server, shown, bot, ask, metrics
):
    answers = [ask(f"person{number}", shown(f"{number}.jpg")) for number in range(4)]
    for answer in answers[:2]:
        server.person("mod").remove(answer)
    pass_time(bot, 2 * HOUR)
    assert health(bot) == "unseen_replies 2\n"
    assert "autochrome_bot_unseen_replies 2.0" in metrics()
    assert not bot.loop.database.has_opted_out("banned", "OldPhotos")
    server.person("mod").remove(answers[2])
    pass_time(bot, 2 * HOUR)
    assert bot.loop.database.has_opted_out("banned", "OldPhotos")
    assert ask("cleo", shown("b.jpg")) is None


def test_all_that_is_well_costs_one_request_an_hour(server, shown, bot, ask):
    ask("ben", shown())
    pass_time(bot, 2 * HOUR)
    looks = [call for call in server.calls_to("/api/info") if call.user is None]
    for _ in range(10):
        pass_time(bot, 300)
    assert len([call for call in server.calls_to("/api/info") if call.user is None]) == len(looks)
    pass_time(bot, 600)
    assert len([call for call in server.calls_to("/api/info") if call.user is None]) == len(looks) + 1
    assert server.calls_to(ABOUT) == []


def test_where_nobody_has_said_anything_nobody_looks(server, bot):
    for _ in range(3):
        pass_time(bot, 2 * HOUR)
    assert [call for call in server.calls_to("/api/info") if call.user is None] == []


def test_where_reddit_lets_nobody_look_the_answers_go_on(server, shown, bot, ask, caplog):
    ask("ben", shown())
    tokens = server.site.tokens
    tokens.given = {name: token for name, token in tokens.given.items() if token.user}
    tokens.apps.clear()
    pass_time(bot, 2 * HOUR)
    assert "visibility_failed error=SignInError" in caplog.text
    assert ask("cleo", shown("b.jpg"))
    assert health(bot) == "ok\n"


def test_where_only_who_is_not_signed_in_is_asked_to_wait_all_else_goes_on(
    server, shown, bot, ask, monkeypatch
):
    # prawcore would sleep by the true clock, which this one is ahead of.
    monkeypatch.setattr("prawcore.rate_limit.RateLimiter.delay", lambda self: None)
    ask("ben", shown())
    pass_time(bot, 2 * HOUR)
    [token] = [token for token in server.site.tokens.given.values() if token.user is None]
    token.used, token.window_ends = 10**6, server.site.clock.now() + 1800
    (bot.settings.bot_state_dir / "health").unlink()
    bot.ahead += 25 * HOUR
    assert ask("cleo", shown("b.jpg"))
    pass_time(bot, HOUR)
    assert health(bot) == "ok\n"
    assert bot.loop.database.progress().swept_at > bot.now() - 2 * HOUR
    refused = [call.at for call in server.calls_to("/api/info") if call.status == 429]
    for _ in range(3):
        pass_time(bot, 300)
    assert [call.at for call in server.calls_to("/api/info") if call.status == 429] == refused
    token.window_ends = 0.0
    pass_time(bot, 1200)
    assert server.calls_to("/api/info")[-1].user is None
    assert bot.loop.database.progress().checked_at > bot.now() - 60


@pytest.mark.usefixtures("retry_at_once")
def test_through_days_of_a_shadow_ban_nothing_is_said(server, shown, bot, ask):
    answer = ask("ben", shown())
    server.bot.user.shadow_banned = True
    pass_time(bot, 2 * HOUR)
    mention = server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    for _ in range(26):
        pass_time(bot, HOUR)
    assert server.bot.comments() == [answer]
    assert health(bot).startswith("shadow_banned\n")
    server.bot.user.shadow_banned = False
    pass_time(bot, HOUR)
    pass_time(bot, 600)
    bot.work(lambda: any(said.parent is mention for said in server.bot.comments()))


@pytest.mark.usefixtures("retry_at_once")
def test_started_anew_after_a_day_of_a_shadow_ban_nothing_is_said(
    server, shown, here, quick_service, ask, bot
):
    answer = ask("ben", shown())
    server.bot.user.shadow_banned = True
    pass_time(bot, 2 * HOUR)
    mention = server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    ahead = bot.ahead + 30 * HOUR
    bot = here(bot_service_url=quick_service.url)
    bot.ahead = ahead
    for _ in range(12):
        pass_time(bot, 1200)
    assert server.bot.comments() == [answer]
    assert health(bot) == "shadow_banned\n"
    server.bot.user.shadow_banned = False
    pass_time(bot, 2 * HOUR)
    bot.work(lambda: any(said.parent is mention for said in server.bot.comments()))
    assert len(server.calls_to(ABOUT)) < 12, "an hour is between two looks"


def test_what_was_unseen_days_ago_is_not_said_for_ever(server, shown, bot, ask):
    server.person("mod").remove(ask("ben", shown()))
    pass_time(bot, 2 * HOUR)
    assert health(bot) == "unseen_replies 1\n"
    for _ in range(3):
        pass_time(bot, 23 * HOUR)
    assert health(bot) == "ok\n"
