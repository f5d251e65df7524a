"""What a bot meets that runs for years: threads that never answer, lists that cannot be read, its own beginnings and ends."""

from __future__ import annotations

import json
import threading
import time

import pytest

from bot.models import State
from bot.reddit import RateLimiter, StoppedError


@pytest.fixture
def bot(here, quick_service):
    return here(bot_service_url=quick_service.url)


def test_a_thread_that_always_fails_holds_up_no_other(server, shown, bot):
    bad = server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail(
        "/api/comment", 502, when="after"
    )  # so that it is looked for, where that fails for good
    bot.work(lambda: fault.hits)
    server.fail("/comments/*", 503, times=None)
    good = server.person("cleo").comment(shown("other.jpg"), "u/colorizebot")
    bot.work(lambda: any(said.parent is good for said in server.bot.comments()))
    assert bot.states() == {"replying": 1, "replied": 1}
    server.heal()
    bot.work(lambda: bot.states() == {"replied": 2})
    assert sorted(said.parent.fullname for said in server.bot.comments()) == [bad.fullname, good.fullname]


@pytest.mark.usefixtures("retry_at_once")
def test_a_mention_that_reddit_takes_no_answer_to_is_given_up_after_a_day(server, shown, bot, quick_service):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/api/comment", 502, times=None)
    for _ in range(20):  # hours
        bot.loop.round()
        bot.ahead += 3600
    assert bot.states().get("given_up") is None
    assert server.bot.unread()
    for _ in range(20):
        bot.loop.round()
        bot.ahead += 3600
    assert (bot.states(), quick_service.jobs) == ({"given_up": 1}, {})
    assert not server.bot.unread()


@pytest.mark.usefixtures("retry_at_once")
def test_who_asks_for_a_deletion_that_reddit_does_not_answer_is_told_after_a_day(server, shown, bot, ask):
    answer = ask("ben", shown())
    server.person("ben").comment(answer, "delete")
    server.fail("/api/del", 503, times=None)
    for _ in range(40):
        bot.loop.round()
        bot.ahead += 3600
    assert "I could not take that back" in server.bot.comments()[-1].text
    assert not server.bot.unread()


def test_what_was_held_back_for_days_is_not_given_up_for_one_lost_call(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    held = server.fail("/api/comment", "RATELIMIT")
    bot.work(lambda: held.hits)
    bot.ahead += 3 * 24 * 3600
    lost = server.fail("/api/comment", 502)
    bot.work(server.bot.comments)
    assert lost.hits
    assert "Here it is in color" in server.bot.comments()[0].text


def test_an_answer_that_a_long_thread_does_not_show_is_found_all_the_same(server, shown, bot):
    server.world.most_replies = 2
    mention = server.person("ben").comment(shown(), "u/colorizebot")
    for _ in range(2):
        server.person("cleo").comment(mention, "Oh yes, please!")
    fault = server.fail("/api/comment", 502, when="after")
    bot.work(lambda: bot.states() == {"replied": 1})
    assert fault.hits == 1
    assert len(server.bot.comments()) == 1


def test_an_account_that_may_write_nowhere_shuns_no_subreddit_for_good(server, shown, bot):
    ben, post = server.person("ben"), shown()
    ben.comment(post, "u/colorizebot")
    server.fail("/api/comment", 403, times=None)
    bot.work(lambda: bot.states() == {"given_up": 1})
    server.heal()
    ben.comment(post, "u/colorizebot")
    bot.work(lambda: bot.states() == {"given_up": 1, "replied": 1})
    assert len(server.bot.comments()) == 1


def test_a_list_of_denials_that_cannot_be_read_is_asked_for_again_soon(server, shown, here, quick_service):
    page = json.dumps({"disallowed": ["oldphotos"]})
    server.subreddit("Bottiquette", wiki={"robots_txt_json": page})
    server.fail("/r/Bottiquette/wiki/*", 503)
    bot = here(bot_service_url=quick_service.url, bot_ignore_bottiquette=False)
    bot.loop.round()
    bot.ahead += 700
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(lambda: bot.states() == {"refused": 1})
    assert server.bot.comments() == []


def test_where_people_seek_help_it_stays_out_though_no_list_can_be_read(server, gray_photo, bot):
    url = server.picture("a.jpg", gray_photo())
    post = server.person("ann").post("SuicideWatch", "Me in 1985", url=url)
    server.person("ben").comment(post, "u/colorizebot")
    bot.work(lambda: bot.states() == {"refused": 1})
    assert server.bot.comments() == []


def test_who_opted_out_may_still_take_back_what_is_theirs_and_gets_no_word(server, shown, bot, quick_service):
    ben, post = server.person("ben"), shown()
    ben.comment(post, "u/colorizebot")
    bot.work(server.bot.comments)
    [answer] = server.bot.comments()
    ben.comment(answer, "opt out")
    bot.work(lambda: len(server.bot.comments()) == 2)
    ben.comment(answer, "delete")
    bot.work(lambda: answer.deleted and not server.bot.unread())
    assert quick_service.jobs == {}
    server.person("cleo").comment(post, "u/colorizebot")
    bot.work(lambda: bot.states().get("replied") == 2)
    ben.comment(server.bot.comments()[-1], "delete")
    bot.work(lambda: not server.bot.unread())
    assert len(server.bot.comments()) == 2, "what is not theirs stays, and is not spoken about"


def test_mentions_from_before_its_database_are_left_alone(server, reddit, shown, here, quick_service):
    mention = server.person("ben").comment(shown(), "u/colorizebot")
    mention.created = time.time() - 3600
    for mention in reddit.inbox.unread():
        mention.mark_read()
    bot = here(bot_service_url=quick_service.url)
    for _ in range(3):
        bot.ahead += bot.loop.round()
    assert bot.states() == {}


def test_a_dry_run_says_nothing_there_and_leaves_its_pictures_for_an_hour_only(
    server, shown, here, quick_service, bot_settings
):
    server.subreddit("OldPhotos", allowed_media=["static"])
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = here(dry_run=True, bot_service_url=quick_service.url)
    bot.work(lambda: bot.states() == {"replied": 1})
    assert server.bot.comments() == []
    assert server.calls_to("/api/media/asset.json") == []
    assert len(server.bot.unread()) == 1
    [job] = quick_service.jobs.values()
    assert float(job["query"]["keep_for"]) == 3600
    assert not bot_settings["bot_state_dir"].exists()


def test_told_to_stop_it_does_not_wait_for_its_next_request_to_be_allowed():
    stop = threading.Event()
    rate_limit = RateLimiter(1, stop.wait)
    rate_limit()
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        rate_limit()
    assert time.monotonic() - began < 30
    assert rate_limit.requests == 1


def test_stopped_before_it_could_say_it_a_mention_is_answered_by_the_next_process(
    server, shown, here, quick_service
):
    mention = server.person("ben").comment(shown(), "u/colorizebot")
    bot = here(bot_service_url=quick_service.url)

    def stop() -> None:
        known = bot.loop.database.mention(mention.fullname)
        if known is not None and known.state == State.REPLYING:
            raise StoppedError

    bot.rate_limit.on_request = stop
    assert bot.loop.round() == 0
    assert bot.states() == {"colored": 1}
    bot = here(bot_service_url=quick_service.url)
    bot.work(lambda: bot.states() == {"replied": 1})
    assert len(server.bot.comments()) == 1


def test_who_opts_out_meanwhile_is_not_answered_any_more(server, shown, bot, quick_service):
    ben, post = server.person("ben"), shown()
    ben.comment(post, "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=30)
    bot.work(lambda: fault.hits)
    ben.message("colorizebot", "bots", "opt out")
    bot.work(lambda: not server.bot.unread())
    assert server.bot.comments() == []
    assert quick_service.jobs == {}


def test_a_command_to_delete_takes_back_what_is_only_begun(server, shown, bot, quick_service):
    ben, post = server.person("ben"), shown()
    ben.comment(post, "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=30)
    bot.work(lambda: fault.hits)
    ben.comment(post, "u/colorizebot delete")
    bot.work(lambda: not server.bot.unread())
    assert server.bot.comments() == []
    assert bot.states() == {"erased": 2}
    assert quick_service.jobs == {}


def test_the_same_is_not_said_twice_to_one_person_in_a_thread(server, shown, bot):
    troll, post = server.person("troll"), shown(over_18=True)
    for _ in range(3):
        troll.comment(post, "u/colorizebot")
        troll.comment(post, "u/colorizebot opt in")
    bot.work(lambda: not server.bot.unread())
    assert sorted("NSFW" in said.text for said in server.bot.comments()) == [False, True]
    server.person("ben").comment(post, "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 3)


def test_words_have_a_limit_too(server, shown, bot):
    chatty = server.person("another_bot")
    for number in range(15):
        chatty.comment(shown(f"{number}.jpg"), "u/colorizebot opt in")
        server.clock.advance(20)  # no faster than a person
    bot.work(lambda: not server.bot.unread())
    assert len(server.bot.comments()) == bot.settings.bot_user_limit


def test_who_takes_each_answer_back_has_limits_all_the_same_for_an_hour(
    server, shown, ask, here, quick_service
):
    bot = here(bot_service_url=quick_service.url, bot_user_limit=3)
    for number in range(3):
        answer = ask("ben", shown(f"{number}.jpg"), at=bot)
        ask("ben", answer, "delete", at=bot)
        server.clock.advance(60)  # no faster than a person
    assert server.bot.comments() == []
    assert "others must have their turn first" in ask("ben", shown("3.jpg"), at=bot).text
    bot.ahead += 3700
    assert "Here it is in color" in ask("ben", shown("4.jpg"), at=bot).text


def test_what_strangers_say_does_not_fill_a_thread(server, shown, here, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_thread_limit=2)
    post = shown()
    server.person("ben").comment(post, "u/colorizebot")
    bot.work(server.bot.comments)
    [answer] = server.bot.comments()
    for name in ("mallory", "trudy", "eve"):
        server.person(name).comment(answer, "delete")
    bot.work(lambda: not server.bot.unread())
    server.person("ben").comment(answer, "vivid")
    bot.work(lambda: "More vivid" in server.bot.comments()[-1].text)


def test_a_thread_that_cannot_be_looked_into_gets_no_second_answer(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/api/comment", 502, when="after")
    hidden = server.fail("/comments/*", 404, times=None)
    bot.work(lambda: bot.states() == {"replied": 1})
    assert hidden.hits
    assert len(server.bot.comments()) == 1


def test_a_picture_in_the_comment_of_somebody_who_opted_out_is_left_alone(
    server, shown, bot, gray_photo, quick_service
):
    olga = server.person("olga")
    olga.message("colorizebot", "bots", "opt out")
    bot.work(lambda: not server.bot.unread())
    shared = olga.comment(shown(), f"My aunt: {server.picture('aunt.jpg', gray_photo())}")
    server.person("pat").comment(shared, "u/colorizebot")
    bot.work(server.bot.comments)
    assert "asked me to leave their pictures alone" in server.bot.comments()[0].text
    assert quick_service.jobs == {}


def test_a_key_that_the_service_refuses_is_not_shown_to_people(server, shown, bot, quick_service, caplog):
    server.person("ben").comment(shown(), "u/colorizebot")
    quick_service.refuses = True
    for _ in range(5):
        bot.ahead += bot.loop.round()
    assert server.bot.comments() == []
    assert "service_refused setting=BOT_SERVICE_KEY" in caplog.text
    quick_service.refuses = False
    bot.ahead += 3600
    bot.work(server.bot.comments)
    assert "Here it is in color" in server.bot.comments()[0].text


def test_a_stream_in_a_subreddit_that_wants_no_bots_is_passed_by(server, shown, here, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_subreddits="OldPhotos", bot_deny="OldPhotos")
    ben = server.person("ben")
    ben.comment(shown(), "colorizebot please")
    bot.work(lambda: bot.states() == {"given_up": 1})
    assert (server.bot.comments(), ben.unread()) == ([], [])


def test_its_database_is_for_nobody_else(bot_settings, bot):
    assert bot.loop.database.progress().started_at
    assert (bot_settings["bot_state_dir"] / "bot.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_reddit_that_shows_nothing_for_once_erases_nothing(server, shown, bot, quick_service, monkeypatch):
    for number in range(5):
        server.person("ben").comment(shown(f"{number}.jpg"), "u/colorizebot")
    bot.work(lambda: bot.states() == {"replied": 5})
    with monkeypatch.context() as blind:
        blind.setattr(bot.loop.reddit, "info", lambda names: {})
        bot.ahead += 25 * 3600
        bot.loop.round()
    assert bot.states() == {"replied": 5}
    assert len(server.bot.comments()) == len(quick_service.jobs) == 5
