"""What only a person can settle reaches one; and what Reddit does to the account is noticed."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

DAY, HOUR = 24 * 3600.0, 3600.0


class Operator(HTTPServer):
    """A webhook that remembers what it was told; while it is `broken` it takes nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.told: list[dict[str, str]] = []
        self.broken = False
        self.asked = 0


class Hook(BaseHTTPRequestHandler):
    server: Operator

    def do_POST(self) -> None:
        self.server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.server.broken:
            self.server.told.append(body)
        self.send_response(500 if self.server.broken else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def operator():
    with Operator() as operator:
        thread = threading.Thread(target=operator.serve_forever, args=(0.02,))
        thread.start()
        yield operator
        operator.shutdown()
        thread.join()


@pytest.fixture
def bot(here, quick_service, operator):
    webhook = f"http://127.0.0.1:{operator.server_port}/"
    return here(bot_service_url=quick_service.url, bot_operator_webhook=webhook)


def pass_time(server, bot, seconds):
    """For Reddit as for the bot."""
    bot.ahead += seconds
    server.clock.advance(seconds)


def answers_to(server, name):
    return [notice.thing.text for notice in server.person(name).unread()]


@pytest.mark.parametrize(
    ("author", "subreddit", "subject", "text", "topic", "is_answered"),
    [
        ("eve", "", "A question", "Which network is it?", "message", True),
        ("eve", "", "Takedown", "This is a DMCA notice about my photograph.", "copyright", True),
        ("eve", "", "My aunt", "You colored her without my permission.", "complaint", True),
        ("eve", "OldPhotos", "Your bot", "Could it say less?", "modmail", True),
        ("eve", "OldPhotos", "You've been banned from participating", "Bots are not allowed.", "ban", False),
        ("reddit", "", "Your account", "It has been suspended for three days.", "ban", False),
        ("reddit", "", "Welcome", "Here is how Reddit works.", "message", False),
    ],
)
def test_a_message_reaches_the_operator_and_is_answered_where_due(
    server, bot, operator, caplog, author, subreddit, subject, text, topic, is_answered
):
    message = server.person(author).message("colorizebot", subject, text, subreddit)
    bot.work(lambda: not server.bot.unread())
    [told] = operator.told
    assert (told["topic"], told["subject"], told["body"]) == (topic, subject, text)
    assert told["link"] == f"https://www.reddit.com/message/messages/{message.id}"
    assert f"for_operator entry={message.fullname} topic={topic}" in caplog.text
    assert text not in caplog.text
    said = answers_to(server, author)
    assert ["passed it on to the person who runs me" in it for it in said] == [True] * is_answered


def test_a_complaint_below_an_answer_reaches_the_operator_and_the_thread_stays_quiet(
    server, shown, bot, ask, operator
):
    answer = ask("ben", shown())
    server.person("cleo").comment(answer, "This is copyrighted, I will report you")
    server.person("dan").comment(answer, "Lovely!")
    bot.work(lambda: len(server.bot.unread()) == 0)
    assert [(told["topic"], told["author"]) for told in operator.told] == [("copyright", "cleo")]
    assert len(server.bot.comments()) == 1


@pytest.mark.usefixtures("retry_at_once")
@pytest.mark.parametrize("subreddit", ["", "OldPhotos"])
def test_it_thanks_once_a_day_and_forwards_every_time(server, bot, operator, subreddit):
    for count, later in enumerate([0, HOUR, DAY], 1):
        pass_time(server, bot, later)
        server.person("eve").message("colorizebot", "Hello", f"Number {count}", subreddit)
        bot.work(lambda: not server.bot.unread())
        assert len(operator.told) == count
    assert len(answers_to(server, "eve")) == 2


def test_who_opted_out_is_heard_and_not_answered(server, bot, operator):
    server.person("eve").message("colorizebot", "", "opt out")
    bot.work(lambda: not server.bot.unread())
    before = len(answers_to(server, "eve"))
    server.person("eve").message("colorizebot", "", "And erase what you know of me")
    bot.work(lambda: not server.bot.unread())
    assert len(operator.told) == 1
    assert len(answers_to(server, "eve")) == before


def test_while_the_webhook_is_down_the_message_waits(server, shown, bot, operator):
    operator.broken = True
    server.person("eve").message("colorizebot", "Hello", "Is anybody there?")
    server.person("ben").comment(shown(), "u/colorizebot")
    bot.work(lambda: operator.asked > 1 and server.bot.comments())
    assert len(server.bot.unread()) == 1
    operator.broken = False
    bot.work(lambda: not server.bot.unread(), rounds=200)
    assert [told["body"] for told in operator.told] == ["Is anybody there?"]


def health(bot) -> str:
    return (bot.settings.bot_state_dir / "health").read_text()


@pytest.mark.parametrize("reason", ["suspended", "domain_banned"])
def test_what_reddit_has_against_the_account_is_said_and_tried_once_an_hour(
    server, shown, here, quick_service, unused_url, reason
):
    port = httpx.URL(unused_url).port
    bot = here(bot_service_url=quick_service.url, bot_metrics_port=port)
    bot.loop.round()
    assert health(bot) == "ok\n"
    if reason == "suspended":
        server.bot.user.suspended = True
    else:
        server.fail("/api/comment", "DOMAIN_BANNED", times=None)
    for name in ("ben", "cleo"):
        server.person(name).comment(shown(f"{name}.jpg"), "u/colorizebot")
    bot.work(lambda: health(bot) == f"{reason}\n")
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert f'autochrome_bot_held{{reason="{reason}"}} 1.0' in metrics
    for _ in range(10):
        bot.ahead += 60
        bot.loop.round()
    assert len(server.calls_to("/api/comment")) == 1
    server.bot.user.suspended = False
    server.heal()
    bot.ahead += HOUR
    bot.work(lambda: len(server.bot.comments()) == 2)
    bot.work(lambda: health(bot) == "ok\n")


@pytest.mark.usefixtures("retry_at_once")
def test_where_moderators_remove_three_answers_it_stays_away(server, shown, bot, ask):
    for number in range(3):
        answer = ask("ben", shown(f"{number}.jpg"))
        if number < 2:
            server.person("mod").remove(answer)
    keeps = ask("ben", server.person("ann").post("Other", url=shown("o.jpg").url))
    pass_time(server, bot, DAY)
    bot.loop.round()
    assert not bot.loop.database.has_opted_out("banned", "OldPhotos"), "two may be a mishap"
    for number in range(3):
        server.person("mod").remove(ask("cleo", shown(f"again{number}.jpg")))
    pass_time(server, bot, DAY)
    bot.loop.round()
    assert bot.loop.database.has_opted_out("banned", "OldPhotos")
    assert not bot.loop.database.has_opted_out("banned", "Other")
    assert keeps in server.bot.comments()
