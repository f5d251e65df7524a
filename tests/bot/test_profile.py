"""Pictures on the bot's own profile: each is posted once, shown in the answer, and goes when the answer goes."""

from __future__ import annotations

import re

import pytest

from bot.errors import Stopped
from bot.profile import LATE

TITLE = "Grandma in 1931 (colors guessed by a neural network)"


@pytest.fixture
def trusted(server, tmp_path, monkeypatch):
    """The store behind uploads speaks TLS, and its authority is the server's own."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", server.ports.certificate(tmp_path / "authority.pem"))


@pytest.fixture
def bot(here, quick_service, trusted):
    return here(service_url=quick_service.url, bot_post_to_profile=True, bot_pause=5)


@pytest.fixture
def later(server, bot):
    """Time goes by, here and at Reddit."""

    def pass_by(seconds: float) -> None:
        bot.ahead += seconds
        server.clock.advance(seconds)

    return pass_by


@pytest.fixture
def slow(server, bot, monkeypatch):
    """Reddit, which first looks at pictures itself, shows each post so many seconds after it was made."""

    def show_after(seconds: float) -> None:
        made_at: dict[str, float] = {}
        add_post, posts_of_mine = server.world.add_post, bot.loop.reddit.posts_of_mine

        def add(*things, **traits):
            post = add_post(*things, **traits)
            made_at[post.fullname] = bot.now()
            return post

        def shown_by_now():
            return [post for post in posts_of_mine() if bot.now() >= made_at[post.fullname] + seconds]

        monkeypatch.setattr(server.world, "add_post", add)
        monkeypatch.setattr(bot.loop.reddit, "posts_of_mine", shown_by_now)

    return show_after


@pytest.fixture
def job_of(server):
    """The job whose comparison the post with this fullname or id shows."""

    def find(id: str) -> str:
        url = server.world.posts[id.removeprefix("t3_")].url
        return server.world.pictures[url.rpartition("/i/")[2]][0].decode()

    return find


def links(text: str) -> list[str]:
    """Ids of the posts that an answer leads to, in order."""
    return re.findall(r"\(http://[^)\s]+/comments/(\w+)\)", text)


def test_the_answer_leads_to_a_post_on_the_profile_with_the_picture(
    server, shown, bot, job_of, quick_service
):
    server.person("ben").comment(shown(over_18=False), "u/colorizebot")
    bot.work(server.bot.comments)
    [post], [answer] = server.bot.posts(), server.bot.comments()
    assert post.subreddit == "u_colorizebot"
    assert post.title == TITLE
    assert [job_of(post.id)] == quick_service.sent
    assert f"**[Here it is in color]({server.url}/comments/{post.id})**" in answer.text
    assert "It stays on my profile until somebody who may asks me to delete it." in answer.text
    assert "erased after" not in answer.text


@pytest.mark.parametrize("seconds", [0, 8])
def test_pictures_under_the_same_title_are_not_taken_for_each_other(
    server, shown, gray_photo, bot, slow, job_of, seconds
):
    slow(seconds)
    pictures = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in range(2)]
    album = server.person("ann").post("OldPhotos", "Grandma in 1931", gallery=pictures)
    for post in (album, shown()):
        server.person("ben").comment(post, "u/colorizebot all")
    bot.work(lambda: len(server.bot.comments()) == 2)
    assert len(server.bot.posts()) == 3
    for said in server.bot.comments():
        jobs = [errand.job for errand in bot.loop.ledger.errands(said.parent.fullname)]
        assert [job_of(post) for post in links(said.text)] == jobs
    assert sorted("They stay on my profile until" in said.text for said in server.bot.comments()) == [0, 1]


@pytest.mark.parametrize("kind", [502, "truncated", "reset"])
def test_where_it_is_unknown_whether_it_was_posted_it_is_looked_for(server, shown, bot, kind):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/submit", kind, when="after")
    bot.work(server.bot.comments)
    assert fault.hits == 1
    assert len(server.bot.posts()) == 1
    assert f"/comments/{server.bot.posts()[0].id})" in server.bot.comments()[0].text


def test_however_late_reddit_shows_a_post_it_is_posted_once(server, shown, bot, slow, later):
    slow(LATE - 10)
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(server.bot.posts)
    [errand] = bot.loop.ledger.errands("t1_c1")
    assert "Grandma" not in errand.link, "nobody's words are in the ledger"
    for _ in range(3):
        later(LATE / 4)
        bot.loop.round()
    assert server.bot.comments() == []
    later(LATE / 4)
    bot.work(server.bot.comments)
    assert [post.id for post in server.bot.posts()] == links(server.bot.comments()[0].text)


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/submit", 502), ("/api/media/asset.json", "reset"), ("/uploaded-media", 403)]
)
def test_what_was_not_posted_after_all_is_posted_again(server, shown, bot, later, caplog, path, kind):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail(path, kind)
    bot.work(lambda: fault.hits)
    later(LATE)
    bot.work(server.bot.comments)
    assert [post.id for post in server.bot.posts()] == links(server.bot.comments()[0].text)
    assert "fault=" not in caplog.text, "it is no fault of the bot's own"


def test_what_reddit_took_and_then_throttles_is_not_forgotten(server, shown, bot, slow, later):
    slow(LATE + 100)
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/submit", 502, when="after")
    bot.work(lambda: fault.hits)
    throttled = server.fail("/api/submit", "RATELIMIT")
    later(LATE)
    bot.work(lambda: throttled.hits)
    bot.work(server.bot.comments)
    assert [post.id for post in server.bot.posts()] == links(server.bot.comments()[0].text)


def test_of_two_posts_of_one_picture_one_is_left(server, shown, bot, slow, later):
    slow(LATE + 10)
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/submit", 502, when="after")
    bot.work(lambda: fault.hits)
    later(LATE)
    bot.work(lambda: len(server.bot.posts()) == 2)
    later(LATE + 10)
    bot.work(server.bot.comments)
    assert [post.id for post in server.bot.posts()] == links(server.bot.comments()[0].text)


@pytest.mark.parametrize("changed", [False, True])
def test_when_the_service_forgets_a_picture_its_post_is_not_made_again(
    server, shown, gray_photo, bot, quick_service, job_of, changed
):
    post = shown()
    server.person("ben").comment(post, "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=5)
    bot.work(lambda: fault.hits)
    quick_service.jobs.clear()
    if changed:
        post.url = server.picture("another.jpg", gray_photo(size=(64, 48)))
    bot.work(server.bot.comments)
    [made] = server.bot.posts()
    assert links(server.bot.comments()[0].text) == [made.id]
    assert job_of(made.id) == quick_service.sent[-1]
    assert len(server.calls_to("/api/submit")) == (2 if changed else 1)


def test_when_the_service_has_erased_a_picture_before_it_is_answered_its_post_goes(
    server, shown, bot, quick_service
):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/comment", 429, seconds=5)
    bot.work(lambda: fault.hits)
    assert len(server.bot.posts()) == 1
    quick_service.expired.update(quick_service.jobs)
    bot.work(lambda: bot.states() == {"refused": 1})
    assert server.bot.posts() == []


def test_ended_after_posting_the_next_process_finds_the_post(server, shown, here, quick_service, bot):
    server.person("ben").comment(shown(), "u/colorizebot")

    def stop() -> None:
        if server.bot.posts():
            raise Stopped

    bot.pace.on_request = stop
    bot.loop.round()
    assert (len(server.bot.posts()), server.bot.comments()) == (1, [])
    bot = here(service_url=quick_service.url, bot_post_to_profile=True)
    bot.work(server.bot.comments)
    assert len(server.bot.posts()) == 1


def test_killed_after_posting_the_next_process_finds_the_post(
    server, shown, words, quick_service, trusted, launch, until
):
    values = {**words, "service_url": quick_service.url, "bot_post_to_profile": True}
    server.person("ben").comment(shown(), "u/colorizebot")
    server.fail("/api/submit", "timeout", when="after", seconds=5)
    bot = launch("-m", "bot", **values)
    until(server.bot.posts, 10, "a post")
    bot.process.kill()
    bot.process.wait(5)
    launch("-m", "bot", **values)
    until(server.bot.comments, 10, "an answer")
    assert [post.id for post in server.bot.posts()] == links(server.bot.comments()[0].text)


def test_an_older_post_of_the_same_title_is_not_taken_for_the_new_one(server, shown, bot, later):
    old = server.bot.post("u_colorizebot", TITLE)
    old.created -= 100
    fault = server.fail("/api/submit", 502)
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(lambda: fault.hits)
    later(LATE)
    bot.work(server.bot.comments)
    [new] = [post for post in server.bot.posts() if post is not old]
    assert f"/comments/{new.id})" in server.bot.comments()[0].text


def forbidden(server, bot, service):
    server.fail("/api/submit", "SUBREDDIT_NOTALLOWED", times=None)


def closed(server, bot, service):
    server.fail("/api/submit", 403, times=None)


def removed(server, bot, service):
    """By Reddit's filter of spam, as posts of young accounts are."""
    bot.pace.on_request = lambda: [setattr(post, "removed_by", "reddit") for post in server.bot.posts()]


def hidden(server, bot, service):
    """A shadow-banned account is nobody to others, and a profile that is not there to itself."""
    server.fail("/user/colorizebot/submitted", 404, times=None)


def no_comparison(server, bot, service):
    service.has_comparisons = False


@pytest.mark.parametrize("obstacle", [forbidden, closed, removed, hidden, no_comparison])
def test_where_it_cannot_be_on_the_profile_the_service_shows_the_picture(
    server, shown, bot, quick_service, later, obstacle
):
    server.person("ben").comment(shown(), "u/colorizebot")
    obstacle(server, bot, quick_service)
    bot.work(quick_service.jobs.keys)
    bot.loop.round()
    later(LATE)
    bot.work(server.bot.comments)
    [answer] = server.bot.comments()
    assert "https://colors.example/photos/" in answer.text
    assert "My copy is erased after" in answer.text
    assert server.bot.posts() == [] or obstacle is hidden


def test_where_one_of_several_cannot_be_there_the_answer_says_of_each_how_long_it_stays(
    server, gray_photo, bot
):
    pictures = [server.picture(f"{number}.jpg", gray_photo(size=(64, 40 + number))) for number in range(2)]
    post = server.person("ann").post("OldPhotos", "An album", gallery=pictures)
    server.person("ben").comment(post, "u/colorizebot all")
    server.fail("/api/submit", "SUBREDDIT_NOTALLOWED", skip=1)
    bot.work(server.bot.comments)
    [answer] = server.bot.comments()
    assert f"[1]({server.url}/comments/" in answer.text
    assert "[2](https://colors.example/photos/" in answer.text
    assert "What is on my profile stays there until somebody who may asks me to delete it;" in answer.text
    assert "my other copy is erased after 30 days" in answer.text


def test_where_reddit_asks_for_patience_it_is_posted_later(server, shown, bot):
    server.person("ben").comment(shown(), "u/colorizebot")
    fault = server.fail("/api/submit", "RATELIMIT", words="Take a break for 9 minutes")
    waits = []
    while not fault.hits:
        waits.append(bot.loop.round())
        bot.ahead += 0.1
    assert waits[-1] == 541
    bot.work(server.bot.comments)
    assert len(server.bot.posts()) == 1


def test_what_is_marked_as_over_18_is_marked_there_too(server, shown, here, quick_service, trusted):
    bot = here(service_url=quick_service.url, bot_post_to_profile=True, bot_over_18=True)
    server.person("ben").comment(shown(over_18=True), "u/colorizebot")
    bot.work(server.bot.comments)
    assert [post.over_18 for post in server.bot.posts()] == [True]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("by", ["order", "sweep"])
def test_the_post_goes_when_the_answer_goes(server, shown, bot, quick_service, later, by):
    post = shown()
    server.person("ben").comment(post, "u/colorizebot")
    bot.work(server.bot.comments)
    [answer] = server.bot.comments()
    later(bot.settings.bot_keep_for + 25 * 3600)
    bot.loop.round()  # which sweeps: as long as the post stays, it is known whose it is
    if by == "order":
        server.person("ann").comment(answer, "delete")
    else:
        server.person("ann").delete(post)
        later(25 * 3600)
    bot.work(lambda: not server.bot.posts())
    assert server.bot.comments() == []
    assert quick_service.jobs == {}


@pytest.mark.usefixtures("impatient")
def test_a_post_that_shows_up_when_nobody_wants_it_any_more_goes(server, shown, bot, slow, later):
    slow(60)
    ben = server.person("ben")
    summons = ben.comment(shown(), "u/colorizebot")
    bot.work(server.bot.posts)
    ben.delete(summons)
    later(10)
    bot.work(lambda: bot.states() == {"given_up": 1})
    later(25 * 3600)
    bot.work(lambda: not server.bot.posts())


def test_a_dry_run_posts_nothing(server, shown, here, quick_service, trusted):
    bot = here(dry_run=True, service_url=quick_service.url, bot_post_to_profile=True)
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(lambda: bot.states() == {"replied": 1})
    assert server.bot.posts() == []
