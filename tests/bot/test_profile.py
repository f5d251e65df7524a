"""Pictures on the bot's own profile: each is posted once, shown in the answer, and goes when the answer goes."""

from __future__ import annotations

import pytest

from bot.errors import Stopped

COMPARISON = b"gray beside color"
ROUNDS = 200
"""A picture that does not show up is waited for, half a minute of the bot's clock."""


@pytest.fixture
def trusted(server, tmp_path, monkeypatch):
    """The store behind uploads speaks TLS, and its authority is the server's own."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", server.ports.certificate(tmp_path / "authority.pem"))


@pytest.fixture
def bot(here, quick_service, trusted):
    return here(service_url=quick_service.url, bot_post_to_profile=True)


def test_the_answer_leads_to_a_post_on_the_profile_with_the_picture(server, shown, bot):
    server.person("ben").comment(shown(over_18=False), "u/colorizebot")
    bot.work(server.bot.comments, ROUNDS)
    [post], [answer] = server.bot.posts(), server.bot.comments()
    assert post.subreddit == "u_colorizebot"
    assert post.title == "Grandma in 1931 (colors guessed by a neural network)"
    assert server.world.pictures[post.url.rpartition("/i/")[2]][0] == COMPARISON
    assert f"**[Here it is in color]({server.url}/comments/{post.id})**" in answer.text
    assert "It stays on my profile until somebody who may asks me to delete it." in answer.text
    assert "erased after" not in answer.text


@pytest.mark.parametrize("lost", [0, 1])
def test_two_pictures_of_one_post_are_two_posts_under_the_same_title(server, gray_photo, bot, lost):
    server.fail("/api/submit", 502, times=lost, skip=1)
    pictures = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in range(2)]
    post = server.person("ann").post("OldPhotos", "An album", gallery=pictures)
    server.person("ben").comment(post, "u/colorizebot all")
    bot.work(server.bot.comments, ROUNDS)
    [answer] = server.bot.comments()
    assert len(server.bot.posts()) == 2
    for made in server.bot.posts():
        assert f"/comments/{made.id})" in answer.text


@pytest.mark.parametrize("kind", [502, "truncated", "reset"])
def test_where_it_is_unknown_whether_it_was_posted_it_is_looked_for(server, shown, bot, kind):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/submit", kind, when="after")
    bot.work(server.bot.comments, ROUNDS)
    assert fault.hits == 1
    assert len(server.bot.posts()) == 1
    assert f"/comments/{server.bot.posts()[0].id})" in server.bot.comments()[0].text


def test_what_was_not_posted_after_all_is_posted_again(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/api/submit", 502)
    bot.work(server.bot.comments, ROUNDS)
    assert len(server.bot.posts()) == 1


def test_ended_after_posting_the_next_process_finds_the_post(server, shown, here, quick_service, bot):
    server.person("ben").comment(shown(), "u/colorizebot")

    def stop() -> None:
        if server.bot.posts():
            raise Stopped

    bot.pace.on_request = stop
    bot.loop.round()
    assert (len(server.bot.posts()), server.bot.comments()) == (1, [])
    bot = here(service_url=quick_service.url, bot_post_to_profile=True)
    bot.work(server.bot.comments, ROUNDS)
    assert len(server.bot.posts()) == 1


def test_an_older_post_of_the_same_title_is_not_taken_for_the_new_one(server, shown, bot):
    old = server.bot.post("u_colorizebot", "Grandma in 1931 (colors guessed by a neural network)")
    old.created -= 3600
    server.fail("/api/submit", 502)
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(server.bot.comments, ROUNDS)
    [new] = [post for post in server.bot.posts() if post is not old]
    assert f"/comments/{new.id})" in server.bot.comments()[0].text


@pytest.mark.parametrize(("path", "kind"), [("/api/submit", "SUBREDDIT_NOTALLOWED"), ("/api/submit", 403)])
def test_where_the_profile_may_not_be_written_to_the_service_shows_the_picture(
    server, shown, bot, path, kind
):
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail(path, kind, times=None)
    bot.work(server.bot.comments, ROUNDS)
    [answer] = server.bot.comments()
    assert "https://colors.example/photos/" in answer.text
    assert "My copy is erased after" in answer.text
    assert server.bot.posts() == []


def test_where_reddit_asks_for_patience_it_is_posted_later(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/submit", "RATELIMIT", words="Take a break for 9 minutes")
    waits = []
    while not fault.hits:
        waits.append(bot.loop.round())
        bot.ahead += 0.1
    assert waits[-1] == 541
    bot.work(server.bot.comments, ROUNDS)
    assert len(server.bot.posts()) == 1


def test_what_is_marked_as_over_18_is_marked_there_too(server, shown, here, quick_service, trusted):
    bot = here(service_url=quick_service.url, bot_post_to_profile=True, bot_over_18=True)
    server.person("ben").comment(shown(over_18=True), "u/colorizebot")
    bot.work(server.bot.comments, ROUNDS)
    assert [post.over_18 for post in server.bot.posts()] == [True]


@pytest.mark.parametrize("by", ["order", "sweep"])
def test_the_post_goes_when_the_answer_goes(server, shown, bot, quick_service, by):
    post = shown()
    server.person("ben").comment(post, "u/colorizebot")
    bot.work(server.bot.comments, ROUNDS)
    [answer] = server.bot.comments()
    later = bot.settings.bot_keep_for + 25 * 3600
    bot.ahead += later
    server.clock.advance(later)
    bot.loop.round()  # which sweeps: as long as the post stays, it is known whose it is
    if by == "order":
        server.person("ann").comment(answer, "delete")
    else:
        server.person("ann").delete(post)
        bot.ahead += 25 * 3600
    bot.work(lambda: not server.bot.posts())
    assert server.bot.comments() == []
    assert quick_service.jobs == {}


def test_a_dry_run_posts_nothing(server, shown, here, quick_service, trusted):
    bot = here(dry_run=True, service_url=quick_service.url, bot_post_to_profile=True)
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(lambda: bot.states() == {"replied": 1})
    assert server.bot.posts() == []
