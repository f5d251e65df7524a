"""A photograph that is in color already: the service says so, and the bot passes it on and colors it when it is wanted all the same."""

from __future__ import annotations

import re

import pytest

from bot.models import State


@pytest.fixture
def bot(here, quick_service):
    return here(bot_service_url=quick_service.url)


@pytest.fixture
def in_color(gray_photo, quick_service) -> bytes:
    """A file that the service says is in color."""
    photo = gray_photo(size=(100, 80))
    quick_service.failing[photo] = "photo_in_color"
    return photo


@pytest.fixture(params=[True, False], ids=["known at once", "known later"])
def when(request, quick_service) -> None:
    quick_service.fails_at_once = request.param


@pytest.fixture
def gallery(server):
    """A post with several pictures."""

    def post(*files: bytes):
        urls = [server.picture(f"{number}.jpg", file) for number, file in enumerate(files, 1)]
        return server.person("ann").post("OldPhotos", "An album", gallery=urls)

    return post


@pytest.mark.usefixtures("when")
def test_it_is_said_and_colored_when_it_is_wanted_all_the_same(shown, ask, bot, in_color, quick_service):
    post = shown("new.jpg", in_color)
    said = ask("ben", post)
    assert "This picture seems to be in color already." in said.text
    known = bot.loop.database.mention(said.parent.fullname)
    assert (known.state, known.outcome) == (State.REPLIED, "in_color")
    assert "This picture seems to be in color already." in ask("cleo", post).text, "it is nobody's"
    again = ask("ben", said, "recolor")
    assert "Here it is in color" in again.text
    recolored = quick_service.jobs[again.text.partition("/photos/")[2][:32]]
    assert recolored["query"].get("if_color", "colorize") == "colorize"
    assert f"[here in this thread]({again.permalink})" in ask("dora", post).text


def test_nothing_of_it_stays_at_the_service(shown, ask, bot, in_color, quick_service):
    said = ask("ben", shown("new.jpg", in_color))
    assert quick_service.sent
    assert quick_service.jobs == {}
    assert bot.loop.database.tasks(said.parent.fullname) == []


@pytest.mark.usefixtures("when")
def test_of_several_those_in_color_are_passed_over_and_may_be_asked_for(
    server, gallery, gray_photo, ask, in_color, quick_service
):
    post = gallery(in_color, gray_photo(), b"Dear sir")
    said = ask("ben", post, "u/colorizebot all")
    assert [url in said.text for url in post.gallery] == [False, True, False]
    assert "Here it is in color" in said.text
    assert "I have colored this one already" in ask("cleo", post, "u/colorizebot 2").text
    assert post.gallery[0] in ask("ben", said, "recolor 1").text


@pytest.mark.usefixtures("when")
def test_where_the_others_are_no_good_which_one_is_in_color_is_said(
    gallery, gray_photo, ask, in_color, quick_service
):
    cut_off = gray_photo(size=(40, 30))
    quick_service.failing[cut_off] = "photo_damaged"
    post = gallery(b"Dear sir", cut_off, in_color)
    said = ask("ben", post, "u/colorizebot all")
    assert "Picture 3 of 3 seems to be in color already." in said.text
    assert post.gallery[2] in ask("ben", said, re.search("`(recolor.*?)`", said.text)[1]).text


@pytest.mark.parametrize(
    ("code", "sentence"),
    [("photo_in_color", "in color already"), ("photo_damaged", "its file is cut off or broken")],
)
@pytest.mark.parametrize(("when", "kind"), [("before", 429), ("before", 502), ("after", 502)])
def test_what_reddit_takes_only_later_is_still_the_same(
    server, shown, bot, in_color, quick_service, code, sentence, when, kind
):
    quick_service.failing[in_color] = code
    server.person("ben").comment(shown("new.jpg", in_color), "u/colorizebot")
    fault = server.fail("/api/comment", kind, when=when, seconds=5)
    bot.work(lambda: server.bot.comments() and not server.bot.unread())
    assert fault.hits == 1
    [said] = server.bot.comments()
    assert sentence in said.text
    assert quick_service.jobs == {}


def test_what_an_earlier_try_was_told_erases_it(server, gallery, gray_photo, bot, in_color, quick_service):
    post = gallery(in_color, gray_photo())
    fault = server.fail("/i/2.jpg", 503)
    server.person("ben").comment(post, "u/colorizebot all")
    bot.work(lambda: fault.hits)
    quick_service.fails_at_once = True
    bot.work(server.bot.comments)
    assert post.gallery[1] in server.bot.comments()[0].text
    assert [job["status"] for job in quick_service.jobs.values()] == ["succeeded"]


def test_what_a_kill_left_of_it_the_next_sweep_erases(
    server, shown, ask, bot, in_color, quick_service, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("bot.outbox.Eraser.try_to_delete_tasks", lambda *_: None)
        ask("ben", shown("new.jpg", in_color))
    assert len(quick_service.jobs) == 1
    bot.ahead += 25 * 3600
    bot.work(lambda: quick_service.jobs == {})


def test_a_recolored_picture_is_another_job_also_for_the_same_mention(
    server, shown, bot, in_color, quick_service
):
    """As where the comment was edited between two tries."""
    mention = server.person("ben").comment(shown("new.jpg", in_color), "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=5)
    bot.work(lambda: fault.hits)
    before = set(quick_service.sent)
    quick_service.jobs.clear()  # the service has lost its memory: the mention begins anew
    mention.text = "u/colorizebot recolor"
    bot.work(server.bot.comments)
    assert "Here it is in color" in server.bot.comments()[0].text
    assert not before & quick_service.jobs.keys()
