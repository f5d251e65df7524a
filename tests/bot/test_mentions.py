"""What people get for what they write: answers, refusals, other colors; who may take back what; and manners."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bot.models import State


@pytest.fixture
def bot(here, quick_service):
    return here(bot_service_url=quick_service.url)


def test_a_later_mention_in_the_thread_gets_the_link_and_another_thread_an_answer_of_its_own(
    shown, ask, quick_service
):
    post = shown()
    first, second = ask("ben", post), ask("cleo", post)
    assert f"I have colored this one already, [here in this thread]({first.permalink})" in second.text
    assert len(quick_service.jobs) == 1
    assert "Here it is in color" in ask("cleo", shown()).text
    assert len(quick_service.jobs) == 2


def test_two_at_the_same_moment_get_one_answer_and_one_link(server, shown, bot, quick_service):
    post = shown()
    for name in ("ben", "cleo"):
        server.person(name).comment(post, "u/colorizebot")
    bot.work(lambda: bot.states() == {"replied": 2})
    assert sorted("already" in said.text for said in server.bot.comments()) == [False, True]
    assert len(quick_service.jobs) == 1


def test_answers_to_the_bot_change_the_colors_and_choose_the_picture(server, gray_photo, ask, quick_service):
    pictures = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in range(3)]
    post = server.person("ann").post("OldPhotos", "An album", gallery=pictures)
    first = ask("ben", post)
    assert "number 1 of 3" in first.text
    assert pictures[0] in first.text
    vivid = ask("ben", first, "vivid")
    assert "More vivid than I would." in vivid.text
    assert pictures[2] in ask("ben", first, "3").text
    both = ask("cleo", first, "all please")
    assert f"[the original]({pictures[1]})" in both.text, "the one that nobody had yet is there"
    assert sorted(float(job["query"]["vividness"]) for job in quick_service.jobs.values()) == [1, 1, 1, 1.4]
    assert "I see 3 pictures here" in ask("ben", post, "u/colorizebot 7").text


def test_of_several_pictures_those_that_are_no_good_are_passed_over(server, gray_photo, ask, quick_service):
    cut_off = gray_photo(size=(40, 30))
    quick_service.failing[cut_off] = "photo_damaged"
    files = {"junk.jpg": b"Dear sir", "gray.jpg": gray_photo(), "cut.jpg": cut_off}
    gallery = [server.picture(name, data) for name, data in files.items()]
    post = server.person("ann").post("OldPhotos", "A mixed bag", gallery=gallery)
    said = ask("ben", post, "u/colorizebot all").text
    assert [url in said for url in gallery] == [False, True, False]
    assert len(quick_service.jobs) == 1


@pytest.mark.parametrize(
    ("traits", "data", "sentence"),
    [
        ({"over_18": True}, None, "I do not color what is marked as NSFW."),
        ({}, b"Dear sir or madam", "not a picture that I can read"),
        ({}, b"GIF89a", "That is a video or an animation"),
        ({"url": "https://example.com/a.jpg"}, None, "I do not take pictures from example.com."),
        ({"url": "https://imgur.com/a/abcde"}, None, "I cannot look into that album."),
        ({"url": "https://imgur.com/t/history/our-album-aBcDe12"}, None, "I cannot look into that album."),
        ({"url": "https://v.redd.it/abc"}, None, "That is a video or an animation"),
        ({"url": "", "text": "Look!"}, None, "I see no picture here"),
    ],
)
def test_a_refusal_says_why_where_it_was_asked(shown, ask, quick_service, traits, data, sentence):
    assert sentence in ask("ben", shown(data=data, **traits)).text
    assert quick_service.jobs == {}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda server, post: setattr(post, "locked", True), "That thread is locked"),
        (lambda server, post: setattr(post, "archived", True), "That thread is archived"),
        (lambda server, post: server.person("mod").remove(post), "That post has been removed"),
        (lambda server, post: server.subreddit("OldPhotos", quarantined=True), "quarantined"),
        (lambda server, post: server.subreddit("OldPhotos", private=True), "I cannot see that community"),
    ],
)
def test_where_no_comment_may_be_left_it_is_said_in_a_message(server, shown, bot, change, sentence):
    post, ben = shown(), server.person("ben")
    ben.comment(post, "u/colorizebot")
    change(server, post)
    bot.work(lambda: bot.states() == {"refused": 1})
    assert server.bot.comments() == []
    assert sentence in ben.unread()[0].thing.text


def test_a_change_of_the_longest_time_for_which_the_service_keeps_a_picture_is_noticed(
    shown, ask, bot, quick_service
):
    def kept_for() -> list[float]:
        return sorted(float(job["query"]["keep_for"]) for job in quick_service.jobs.values())

    day = 86400.0
    quick_service.max_keep_for = 7 * day
    ask("ben", shown("a.jpg"))
    assert kept_for() == [7 * day]
    quick_service.max_keep_for = 1 * day
    assert "Here it is in color" in ask("ben", shown("b.jpg")).text
    assert kept_for() == [1 * day, 7 * day], "less holds at once"
    quick_service.max_keep_for = 60 * day
    bot.ahead += 3600
    ask("ben", shown("c.jpg"))
    assert kept_for() == [1 * day, 7 * day, bot.settings.bot_keep_for], "more holds within the hour"


def test_only_who_called_and_whose_it_is_may_take_an_answer_back(server, shown, ask, bot, quick_service):
    post = shown()
    answer = ask("ben", post)
    assert (
        "Only who called me, who posted the photograph, or a moderator"
        in ask("mallory", answer, "delete").text
    )
    assert len(quick_service.jobs) == 1
    ask("ann", answer, "delete")
    assert quick_service.jobs == {}
    assert answer.deleted
    assert bot.states()["erased"] == 2, "the answer's mention and the command to delete it"
    assert "Here it is in color" in ask("cleo", post).text, "it may be asked for again"


def test_a_picture_whose_secret_was_lost_does_not_keep_the_others_from_being_erased(
    server, gray_photo, ask, bot, quick_service
):
    pictures = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in range(3)]
    answer = ask(
        "ben", server.person("ann").post("OldPhotos", "An album", gallery=pictures), "u/colorizebot all"
    )
    lost, *_ = bot.loop.database.tasks(answer.parent.fullname)
    bot.loop.database.save_task(replace(lost, secret="of another job"))
    ask("ben", answer, "delete")
    assert list(quick_service.jobs) == [lost.job_id], "it stays until its time is over"
    assert answer.deleted
    assert bot.loop.database.mention(answer.parent.fullname).state is State.ERASED
    assert bot.loop.database.tasks(answer.parent.fullname) == []


def test_who_opts_out_is_left_alone_until_they_opt_in(server, shown, ask):
    post = shown()
    answer = ask("ann", post)
    assert "I will neither answer you nor color what you post" in ask("ann", answer, "opt out").text
    assert ask("ann", post, "u/colorizebot vivid") is None
    assert "asked me to leave their pictures alone" in ask("ben", shown("b.jpg")).text
    assert "Welcome back" in ask("ann", answer, "opt in").text
    assert "Here it is in color" in ask("ben", shown("c.jpg")).text


def test_an_opt_out_by_message_counts_too(server, shown, ask, bot):
    server.person("ann").message("colorizebot", "bots", "opt out")
    bot.work(lambda: bot.states() == {"refused": 1})
    assert "I will neither answer you" in server.person("ann").unread()[0].thing.text
    assert ask("ann", shown()) is None


@pytest.fixture
def elsewhere(server, gray_photo):
    """A post in another subreddit than r/OldPhotos."""
    return server.person("ann").post("pics", "Grandpa", url=server.picture("grandpa.jpg", gray_photo()))


def by_comment(server, bot, ask, answer, words):
    said = ask("mod", answer, words, as_moderator=True)
    return said.text


def by_message(server, bot, ask, answer, words):
    before = len(server.person("mod").unread())
    server.person("mod").message("colorizebot", "Your bot", words, subreddit="OldPhotos")
    bot.work(lambda: len(server.person("mod").unread()) > before and not server.bot.unread())
    return server.person("mod").unread()[-1].thing.text


@pytest.mark.parametrize("say", [by_comment, by_message])
def test_a_moderator_keeps_it_out_of_their_subreddit_until_one_calls_it_back(
    server, shown, ask, bot, elsewhere, say
):
    ben = server.person("ben")
    answer = ask("ben", shown())
    assert "I will not answer in OldPhotos any more" in say(server, bot, ask, answer, "opt out")
    assert ask("ben", shown("b.jpg")) is None
    assert "I stay out of this community" in ben.unread()[-1].thing.text
    assert "Here it is in color" in ask("mod", elsewhere).text, "neither other subreddits nor the moderator"
    assert ask("ben", answer, "opt in") is None, "nothing is said there any more"
    assert ask("ben", shown("c.jpg")) is None, "and that was for ben alone"
    assert "I will answer in OldPhotos again" in say(server, bot, ask, answer, "opt in")
    assert "Here it is in color" in ask("cleo", shown("d.jpg")).text


def test_nobody_else_sends_it_out_of_a_subreddit(server, shown, ask, bot):
    answer = ask("ben", shown())
    assert "I will neither answer you" in ask("troll", answer, "opt out").text
    server.person("troll").message("colorizebot", "r/OldPhotos", "opt out")
    bot.work(lambda: not server.bot.unread())
    assert "Here it is in color" in ask("ben", shown("b.jpg")).text


def test_communities_that_want_no_bots_are_left_in_peace(server, shown, here, quick_service):
    page = json.dumps({"disallowed": ["oldphotos"], "permission": [], "posts-only": [], "comments-only": []})
    server.subreddit("Bottiquette", wiki={"robots_txt_json": page})
    bot = here(bot_service_url=quick_service.url, bot_ignore_bottiquette=False)
    ben = server.person("ben")
    ben.comment(shown(), "u/colorizebot")
    bot.work(lambda: bot.states() == {"refused": 1})
    assert server.bot.comments() == []
    assert "I stay out of this community" in ben.unread()[0].thing.text


def test_enough_is_enough_and_said_once(server, shown, ask, here, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_user_limit=2)
    said = [ask("ben", shown(f"{number}.jpg"), at=bot) for number in range(4)]
    assert ["Here it is in color" in it.text for it in said[:2]] == [True, True]
    assert "others must have their turn first. Try again in 1 hour." in said[2].text
    assert said[3] is None
    bot.ahead += 3700
    assert "Here it is in color" in ask("ben", shown("later.jpg"), at=bot).text


def test_the_bare_word_calls_where_the_bot_listens_and_nowhere_else(server, shown, here, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_subreddits="OldPhotos")
    server.person("ben").comment(shown(), "colorizebot")
    elsewhere = server.person("ann").post("pics", "Another", url=server.picture("x.jpg", b""))
    server.person("ben").comment(elsewhere, "colorizebot")
    bot.work(server.bot.comments)
    for _ in range(3):
        bot.ahead += bot.loop.round()
    assert [said.subreddit for said in server.bot.comments()] == ["OldPhotos"]


def test_it_does_not_answer_itself_nor_what_asks_for_nothing(server, shown, bot):
    post = shown()
    server.bot.comment(post, "I am colorizebot; call u/colorizebot")
    server.person("ben").comment(post, "> u/colorizebot\n\nWhat is that?")
    bot.work(lambda: not server.bot.unread())
    assert bot.states() == {}
    assert len(server.bot.comments()) == 1


def test_the_daily_sweep_erases_what_is_deleted_or_disliked(server, shown, ask, bot, quick_service):
    posts = [shown(f"{number}.jpg") for number in range(3)]
    answers = [ask("ben", post) for post in posts]
    server.person("ann").delete(posts[0])
    server.person("troll").vote(answers[1], -5)
    bot.ahead += 12 * 3600
    bot.loop.round()
    assert len(quick_service.jobs) == 3, "once a day"
    bot.ahead += 13 * 3600
    bot.work(lambda: len(quick_service.jobs) == 1)
    assert [answer.deleted for answer in answers] == [True, True, False]
    assert bot.states() == {"erased": 2, "replied": 1}


def test_after_its_time_its_pictures_are_forgotten_and_it_can_still_be_taken_back(
    shown, ask, bot, server, quick_service
):
    post = shown()
    answer = ask("ben", post)
    later = bot.settings.bot_keep_for + 25 * 3600
    bot.ahead += later
    server.clock.advance(later)
    bot.work(lambda: bot.loop.database.tasks(answer.parent.fullname) == [])
    assert not answer.deleted
    assert ask("mallory", answer, "delete") is not None
    ask("ben", answer, "delete")
    assert answer.deleted
    known = bot.loop.database.mention(answer.parent.fullname)
    assert (known.state, known.author_hash, known.post, known.reply_link) == (State.ERASED, "", "", "")


def test_every_answer_names_how_to_get_rid_of_the_bot(shown, ask):
    assert re.search(r"`delete`.*`opt out`", ask("ben", shown()).text)
