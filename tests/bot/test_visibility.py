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


def test_a_sweep_meanwhile_erases_nothing(server, shown, bot, ask):
    for number in range(3):
        ask(f"person{number}", shown(f"{number}.jpg"))
    server.bot.user.shadow_banned = True
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


def test_what_was_unseen_days_ago_is_not_said_for_ever(server, shown, bot, ask):
    server.person("mod").remove(ask("ben", shown()))
    pass_time(bot, 2 * HOUR)
    assert health(bot) == "unseen_replies 1\n"
    for _ in range(3):
        pass_time(bot, 23 * HOUR)
    assert health(bot) == "ok\n"
