"""Whose picture it is: the original of a crosspost and of a link, moderators, and who changes their mind by an edit."""

from __future__ import annotations

import pytest


@pytest.fixture
def bot(here, quick_service):
    return here(bot_service_url=quick_service.url)


@pytest.fixture
def crosspost(server, shown):
    """Of ann's photograph in r/OldPhotos, by carl in r/pics."""

    def post(original=None, **traits):
        original = original or shown()
        return server.person("carl").post("pics", "Look at her", crosspost_of=original, **traits)

    return post


def test_a_crosspost_of_who_opted_out_is_left_alone(server, shown, ask, crosspost, quick_service):
    original = shown()
    ask("ann", ask("ann", original), "opt out")
    quick_service.jobs.clear()
    said = ask("ben", crosspost(original))
    assert "asked me to leave their pictures alone" in said.text
    assert quick_service.jobs == {}


def test_a_crosspost_is_nsfw_when_its_original_is(shown, ask, crosspost, quick_service):
    assert "marked as NSFW" in ask("ben", crosspost(shown(over_18=True))).text
    assert quick_service.jobs == {}


@pytest.mark.parametrize("gone", ["deleted", "removed", "private"])
def test_a_crosspost_of_what_is_gone_is_left_alone(server, shown, bot, crosspost, quick_service, gone):
    original = shown()
    post = crosspost(original)
    ben = server.person("ben")
    ben.comment(post, "u/colorizebot")
    if gone == "private":
        server.subreddit("OldPhotos", private=True)
    else:
        original.removed_by = {"deleted": "deleted", "removed": "moderator"}[gone]
    bot.work(lambda: bot.states() == {"refused": 1})
    assert "That post has been removed" in ben.unread()[0].thing.text
    assert quick_service.jobs == {}


def test_the_photographer_may_have_the_answer_below_a_crosspost_deleted(shown, ask, crosspost, quick_service):
    answer = ask("ben", crosspost())
    assert "Only who called me" in ask("mallory", answer, "delete").text
    ask("ann", answer, "Please delete this, she is my mother")
    assert (answer.deleted, quick_service.jobs) == (True, {})
    again = ask("ben", crosspost())
    ask("carl", again, "delete")
    assert again.deleted, "and who crossposted it may"


@pytest.mark.parametrize("gone", ["deleted", "moderator"])
def test_the_daily_sweep_erases_below_crossposts_of_what_is_gone(
    shown, ask, crosspost, bot, quick_service, gone
):
    original = shown()
    answer = ask("ben", crosspost(original))
    kept = ask("ben", crosspost(shown("other.jpg")))
    original.removed_by = gone
    bot.ahead += 25 * 3600
    bot.work(lambda: len(quick_service.jobs) == 1)
    assert (answer.deleted, kept.deleted) == (True, False)


def test_a_moderator_may_have_an_answer_deleted(shown, ask, quick_service):
    answer = ask("ben", shown())
    assert "Only who called me" in ask("mod", answer, "delete").text, "who does not speak as one may not"
    assert ask("mod", answer, "delete", as_moderator=True) is None
    assert (answer.deleted, quick_service.jobs) == (True, {})


@pytest.mark.parametrize("kind", ["share", "short", "permalink", "gallery"])
def test_a_link_to_a_post_is_its_picture_and_its_consent(server, shown, ask, quick_service, kind):
    original = shown("linked.jpg", author="dora")
    links = {
        "share": lambda: server.person("ben").share(original),
        "short": lambda: f"https://redd.it/{original.id}",
        "permalink": lambda: f"https://www.reddit.com{original.permalink}",
        "gallery": lambda: f"https://www.reddit.com/gallery/{original.id}",
    }
    text = server.person("ann").post("OldPhotos", "A talk", text="About photographs")
    answer = ask("ben", text, f"u/colorizebot {links[kind]()} please")
    assert original.url in answer.text
    assert "Here it is in color" in ask("cleo", shown(url=links[kind]())).text, (
        "and of a post that leads there"
    )
    ask("dora", answer, "delete")
    assert answer.deleted
    ask("dora", ask("dora", original), "opt out")
    said = ask(
        "ben", server.person("ann").post("pics", "Talk", text="Talk"), f"u/colorizebot {links[kind]()}"
    )
    assert "asked me to leave their pictures alone" in said.text


def test_a_link_that_leads_nowhere_is_as_if_it_were_not_there(shown, ask):
    nowhere = "https://www.reddit.com/r/OldPhotos/s/n0where"
    assert "Here it is in color" in ask("ben", shown(), f"u/colorizebot {nowhere}").text


# Edits.


def test_an_edit_within_minutes_is_heard_and_no_stream_is_read_for_it(server, shown, ask, bot, quick_service):
    answer = ask("cleo", shown())
    comment = server.person("ben").comment(answer, "nice")
    bot.work(lambda: not server.bot.unread())
    server.person("ben").edit(comment, "vivid")
    bot.ahead += 120
    server.clock.advance(120)
    bot.work(lambda: len(quick_service.jobs) == 2)
    bot.work(lambda: [it for it in server.bot.comments() if it.parent is comment])
    assert not [call for call in server.calls if call.path.endswith("/comments")]


def test_a_wrong_number_is_put_right_by_an_edit(server, shown, ask, bot):
    comment = ask("ben", shown(), "u/colorizebot 7").parent
    server.person("ben").edit(comment, "u/colorizebot")
    bot.ahead += 120
    bot.work(lambda: bot.states() == {"replied": 1})
    [said] = server.bot.comments()
    assert "Here it is in color" in said.text, "and the refusal is gone"
    assert said.parent is comment


def test_an_answer_after_an_edit_that_is_lost_is_found_and_not_the_refusal(server, shown, ask, bot):
    comment = ask("ben", shown(), "u/colorizebot 7").parent
    server.person("ben").edit(comment, "u/colorizebot")
    fault = server.fail("/api/comment", 502, when="after")
    bot.ahead += 120
    bot.work(lambda: fault.hits and bot.states() == {"replied": 1})
    [said] = server.bot.comments()
    assert bot.loop.database.mention(comment.fullname).reply == said.fullname


def test_a_picture_is_taken_back_by_an_edit(server, shown, ask, bot, quick_service):
    answer = ask("ben", shown())
    server.person("ben").edit(answer.parent, "u/colorizebot delete")
    bot.ahead += 120
    bot.work(lambda: bot.states() == {"erased": 1})
    assert (answer.deleted, quick_service.jobs) == (True, {})


def test_what_was_edited_away_before_the_answer_is_not_answered(server, shown, bot, quick_service):
    comment = server.person("ben").comment(shown(), "u/colorizebot")
    bot.rate_limit.on_request = lambda: (
        server.person("ben").edit(comment, "never mind") if quick_service.jobs else None
    )
    quick_service.lost = 1
    bot.work(lambda: bot.states() == {"given_up": 1})
    assert server.bot.comments() == []


@pytest.mark.parametrize(
    ("edit", "ends", "said"),
    [("delete", "given_up", 0), ("opt out", "replied", 1)],
    ids=["delete", "opt out"],
)
def test_what_an_edit_takes_back_before_the_answer_gets_no_picture(
    edit, ends, said, server, shown, bot, quick_service
):
    comment = server.person("ben").comment(shown(), "u/colorizebot")
    quick_service.is_busy = True
    bot.work(lambda: bot.states() == {"queued": 1})
    server.person("ben").edit(comment, f"u/colorizebot {edit}")
    quick_service.is_busy = False
    bot.ahead += 120
    bot.work(lambda: bot.states() == {ends: 1})
    assert len(server.bot.comments()) == said
    assert all("/photos/" not in it.text for it in server.bot.comments())
    assert quick_service.jobs == {}


def test_an_edit_that_cannot_be_carried_out_stops_nothing_and_is_tried_again(
    server, shown, ask, bot, quick_service
):
    answer = ask("ben", shown())
    server.person("ben").edit(answer.parent, "u/colorizebot delete")
    fault = server.fail("/api/del", 403, times=1)
    other = server.person("cleo").comment(shown(), "u/colorizebot")
    bot.ahead += 120
    bot.work(lambda: fault.hits and bot.loop.database.mention(other.fullname).state == "replied")
    bot.ahead += 120
    bot.work(lambda: bot.loop.database.mention(answer.parent.fullname).state == "erased")
    assert answer.deleted


def test_who_asks_for_a_deletion_that_reddit_refuses_is_told_so(server, shown, ask, bot):
    answer = ask("ben", shown())
    server.fail("/api/del", 403, times=100)
    wish = server.person("ben").comment(answer, "delete")

    def is_over() -> bool:
        bot.ahead += 600
        known = bot.loop.database.mention(wish.fullname)
        return known is not None and known.state == "refused"

    bot.work(is_over)
    [said] = [it.text for it in server.bot.comments() if it.parent is wish]
    assert "I could not take that back" in said
    assert "smaller copy" not in said


def test_later_edits_are_not_looked_for(server, shown, bot):
    comment = server.person("ben").comment(shown(), "I hate u/colorizebot")
    bot.work(lambda: not server.bot.unread())
    bot.ahead += 3600
    bot.loop.round()
    looks = len(server.calls_to("/api/info"))
    server.person("ben").edit(comment, "u/colorizebot")
    for _ in range(5):
        bot.ahead += 120
        bot.loop.round()
    assert len(server.calls_to("/api/info")) == looks
    assert server.bot.comments() == []


# Bot wars.


def test_no_one_gets_more_than_so_many_replies_in_a_thread(server, shown, ask, here, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_user_limit=0, bot_thread_user_limit=3)
    post = shown()
    said = ask("other_bot", post, at=bot)
    for _ in range(5):
        bot.ahead += 90
        server.clock.advance(90)
        said = ask("other_bot", said, "vivid", at=bot) or said
    assert len(server.bot.comments()) <= 3
    assert ask("ben", post, "u/colorizebot muted", at=bot) is not None, "others still get theirs"


def test_a_link_to_an_earlier_answer_is_a_reply_too_and_given_once(server, shown, ask):
    post = shown()
    ask("ben", post)
    assert "already" in ask("cleo", post).text
    assert ask("cleo", post) is None
    assert "already" in ask("dora", post).text


def test_who_calls_at_the_pace_of_a_program_is_not_answered(server, shown, ask, here, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_user_limit=0)
    said = [ask("fast", shown(f"{number}.jpg"), at=bot) for number in range(8)]
    assert [it is not None for it in said] == [True] * 5 + [False] * 3
    server.clock.advance(3600)
    bot.ahead += 3600
    assert ask("fast", shown("later.jpg"), at=bot) is not None


@pytest.mark.parametrize(
    "flags",
    [{"distinguished": "admin"}, {"distinguished": "special"}, {"distinguished": True, "stickied": True}],
)
def test_accounts_that_reddit_marks_are_no_persons(server, shown, bot, flags):
    comment = server.person("SomeTool").comment(shown(), "u/colorizebot")
    for flag, value in flags.items():
        setattr(comment, flag, value)
    bot.work(lambda: not server.bot.unread())
    assert bot.states() == {}
    assert server.bot.comments() == []
