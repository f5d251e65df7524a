"""The colored picture in the comment itself, where the subreddit allows that; the link alone, and once, whatever goes wrong."""

from __future__ import annotations

import json

import pytest

UPLOAD = "/uploaded-media"
LEASE = "/api/media/asset.json"


@pytest.fixture
def bot(here, quick_service):
    return here(
        bot_service_url=quick_service.url,
        bot_code_url="https://code.example/bot",
        bot_timeout=0.25,
        bot_poll_interval=5,
    )


@pytest.fixture
def place(server):
    """A subreddit that allows pictures in comments."""
    return server.subreddit("OldPhotos", allowed_media=["giphy", "static"])


def said_once(server, bot):
    """The only comment, when all is done."""
    bot.work(lambda: server.bot.comments() and not server.bot.unread(), rounds=120)
    for _ in range(3):
        bot.ahead += bot.loop.round()
    [comment] = server.bot.comments()
    assert bot.states() == {"replied": 1}
    assert "**[Here it is in color](https://colors.example/photos/" in comment.text
    return comment


def test_it_stands_in_the_comment_with_its_link_and_what_it_shows(server, shown, bot, place, quick_service):
    server.person("ben").comment(shown(), "u/colorizebot")
    comment = said_once(server, bot)
    assert server.site.leases[f"uploads/{comment.media}"] == next(iter(quick_service.files.values()))
    assert comment.caption == "“Grandma in 1931”: the photograph in colors that a machine guessed"
    assert "Grandma in 1931" not in comment.text, "nobody sees it twice"
    assert "[Code](https://code.example/bot)" in comment.text
    form = server.calls_to("/api/comment")[0].form
    assert json.loads(form["richtext_json"])["document"][0]["e"] == "img"
    assert "text" not in form
    server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 2)
    assert len(server.calls_to("/r/oldphotos/about")) == 1, "it is asked once a day what is allowed"
    assert len(server.calls_to(LEASE)) == 2


@pytest.mark.parametrize("allowed", [[], ["giphy", "animated"]])
def test_where_pictures_are_not_allowed_nothing_is_uploaded(server, shown, bot, place, allowed):
    place.allowed_media = allowed
    server.person("ben").comment(shown(), "u/colorizebot")
    assert said_once(server, bot).media == ""
    assert server.calls_to(LEASE) == []


def test_an_operator_may_want_links_alone(server, shown, here, place, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_pictures=False)
    server.person("ben").comment(shown(), "u/colorizebot")
    assert said_once(server, bot).media == ""
    assert server.calls_to("/r/oldphotos/about") == []


@pytest.mark.parametrize(("path", "kind"), [(UPLOAD, 500), (UPLOAD, "reset"), (LEASE, "truncated")])
def test_an_upload_that_fails_is_tried_once_more(server, shown, bot, place, path, kind):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail(path, kind)
    assert said_once(server, bot).media
    assert fault.hits == 1


@pytest.mark.parametrize(
    ("path", "kind"), [(UPLOAD, 403), (LEASE, 500), ("/r/oldphotos/about", 403), ("/r/oldphotos/about", 500)]
)
def test_one_that_fails_for_good_leaves_the_link_and_costs_little(server, shown, bot, place, path, kind):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail(path, kind, times=None)
    assert said_once(server, bot).media == ""
    for number in range(3):
        server.person("cleo").comment(shown(f"{number}.jpg"), "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 4)
    assert fault.hits <= 2, "for ten minutes nothing is uploaded then"


def test_a_picture_that_is_refused_is_left_out_at_once_and_there_for_a_day(server, shown, bot, place):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/api/comment", "SOME_CODE_OF_NEXT_YEAR")
    assert said_once(server, bot).media == ""
    server.person("cleo").comment(shown("b.jpg"), "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 2)
    assert len(server.calls_to(LEASE)) == 1


@pytest.mark.parametrize("lost", [("reset", "after"), ("RATELIMIT", "before")])
def test_one_that_is_refused_is_not_tried_again_where_the_next_try_fails(server, shown, bot, place, lost):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/api/comment", "SOME_CODE_OF_NEXT_YEAR")
    kind, when = lost
    server.fail("/api/comment", kind, when=when)
    assert said_once(server, bot).media == ""
    assert len([call for call in server.calls_to("/api/comment") if call.form.get("richtext_json")]) == 1
    assert len(server.calls_to(LEASE)) == 1
    bot.ahead += 2 * 3600
    bot.loop.round()
    assert server.calls_to("/api/editusertext") == [], "there is no picture to take out"


def test_after_a_change_of_mind_the_picture_is_the_new_one(server, bot, place, gray_photo, quick_service):
    urls = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in (1, 2)]
    post = server.person("dora").post("OldPhotos", "Two", gallery=urls)
    mention = server.person("ben").comment(post, "u/colorizebot 1")
    fault = server.fail("/api/comment", "RATELIMIT")
    bot.work(lambda: fault.hits)
    mention.text = "u/colorizebot 2"
    quick_service.jobs.clear()  # which it has to be asked for anew
    comment = said_once(server, bot)
    assert urls[1] in comment.text
    assert server.site.leases[f"uploads/{comment.media}"] == server.world.pictures["2.jpg"][0]


@pytest.mark.parametrize(
    "action",
    ["//elsewhere.example/x", "//reddit-x.s3.amazonaws.com@elsewhere.example/x", "//localhost/x", "/x"],
)
def test_a_picture_goes_nowhere_but_to_reddit(server, shown, bot, place, monkeypatch, action):
    sent = []
    monkeypatch.setattr("bot.uploads.send", lambda web, lease, *rest: sent.append(lease.url))
    post = bot.loop.reddit._praw.post

    def lying(path, **options):
        answer = post(path, **options)
        if path == "api/media/asset.json":
            answer["args"]["action"] = action
        return answer

    monkeypatch.setattr(bot.loop.reddit._praw, "post", lying)
    server.person("ben").comment(shown(), "u/colorizebot")
    assert said_once(server, bot).media == ""
    assert sent == []


@pytest.mark.parametrize("kind", ["RATELIMIT", 429])
def test_what_is_only_put_off_is_not_uploaded_again(server, shown, bot, place, kind):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/comment", kind, seconds=7)
    assert said_once(server, bot).media
    assert fault.hits == 1
    assert len(server.calls_to(LEASE)) == 1


@pytest.mark.parametrize(
    ("kind", "when"), [(400, "before"), (502, "before"), (502, "after"), ("reset", "after")]
)
def test_where_the_answer_is_lost_it_is_said_once(server, shown, bot, place, kind, when):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/comment", kind, when=when, seconds=0.4)
    comment = said_once(server, bot)
    assert bool(comment.media) == (when == "after"), "perhaps Reddit broke over the picture"
    assert fault.hits == 1


def test_stopped_between_upload_and_comment_the_next_process_says_it_once(
    server, shown, here, place, quick_service
):
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = here(bot_service_url=quick_service.url)

    class KilledError(BaseException):
        """As kill -9: nothing is put in order."""

    def kill() -> None:
        if server.calls_to(UPLOAD):
            raise KilledError

    bot.rate_limit.on_request = kill
    with pytest.raises(KilledError):
        bot.work(lambda: False)
    assert server.bot.comments() == []
    bot = here(bot_service_url=quick_service.url)
    said_once(server, bot)
    assert len(server.calls_to(LEASE)) == 1


def test_a_picture_that_reddit_cannot_process_gives_way_to_the_link(server, shown, bot, place):
    server.world.processing = "unprocessed"
    server.person("ben").comment(shown(), "u/colorizebot")
    comment = said_once(server, bot)
    text, media = comment.text, comment.media
    assert media
    server.world.media[media] = "failed"
    bot.ahead += 2 * 3600
    bot.work(lambda: not comment.media)
    assert comment.text == text
    edits = len(server.calls_to("/api/editusertext"))
    bot.ahead += 2 * 3600
    bot.loop.round()
    assert len(server.calls_to("/api/editusertext")) == edits == 1


def test_one_comment_that_cannot_be_edited_stops_no_other(server, shown, bot, place):
    server.world.processing = "unprocessed"
    for name in ("ben", "cleo"):
        server.person(name).comment(shown(f"{name}.jpg"), "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 2)
    server.world.media |= dict.fromkeys(server.world.media, "failed")
    server.fail("/api/editusertext", 403)
    bot.ahead += 2 * 3600
    bot.loop.round()
    assert len([said for said in server.bot.comments() if said.media]) == 1
    bot.ahead += 2 * 3600
    bot.loop.round()
    assert len([said for said in server.bot.comments() if said.media]) == 0


def test_a_picture_that_reddit_has_processed_stays(server, shown, bot, place):
    server.person("ben").comment(shown(), "u/colorizebot")
    comment = said_once(server, bot)
    bot.ahead += 2 * 3600
    bot.loop.round()
    assert comment.media
    assert server.calls_to("/api/editusertext") == []


def test_of_several_the_links_are_shown(server, bot, place, gray_photo):
    urls = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in (1, 2)]
    post = server.person("dora").post("OldPhotos", "Two", gallery=urls)
    server.person("ben").comment(post, "u/colorizebot all")
    bot.work(server.bot.comments)
    assert "**Here they are in color**" in server.bot.comments()[0].text
    assert server.calls_to(LEASE) == []


def test_when_many_call_at_once_requests_are_kept_for_answers(server, shown, here, place, quick_service):
    bot = here(bot_service_url=quick_service.url, bot_requests_per_minute=12)
    bot.rate_limit.keep_time_by(lambda: bot.ahead)
    for number in range(12):
        server.person(f"person{number}").comment(shown(f"{number}.jpg"), "u/colorizebot")
    bot.work(lambda: len(server.bot.comments()) == 12, rounds=200)
    with_pictures = [comment for comment in server.bot.comments() if comment.media]
    assert 0 < len(with_pictures) < 6
