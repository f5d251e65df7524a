"""One life through all doors: Reddit (the fake one), the bot's process, the service, its Valkey, the page; and its end."""

from __future__ import annotations

import io
import re
import time

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from service import valkey


@pytest.fixture
def bot(launch, service, words):
    """`python -m bot`, signed in and listening."""
    settings = {**words, "service_url": service.url, "public_url": service.url}
    bot = launch("-m", "bot", **settings)
    bot.line("ready as=u/colorizebot")
    return bot


def test_a_summons_becomes_a_colored_photograph_and_delete_leaves_nothing_of_it(
    server, shown, service, bot, words, until
):
    lines_before = len(service.lines)
    post = shown()
    began = time.monotonic()
    summons = server.person("Ben_Who_Calls").comment(post, "u/colorizebot please, this is my grandma")
    [reply] = until(server.bot.comments, 10, "an answer")
    link = re.search(r"\*\*\[Here it is in color\]\((\S+)\)\*\*", reply.text)[1]
    page = httpx.get(link)
    took = time.monotonic() - began
    assert took < 10
    assert reply.parent is summons
    for words_of_manners in ("a guess of a neural network", "Grandma in 1931", "opt out", "I am a bot"):
        assert words_of_manners in reply.text

    assert (page.status_code, "These colours are a guess" in page.text) == (200, True)
    job = link.rpartition("/")[2]
    pictures = httpx.URL(service.url).join(f"/v1/colorizations/{job}/")
    colored = httpx.get(pictures.join("result"))
    assert chroma(colored.content).mean() > 1, "it is in color"
    assert Image.open(io.BytesIO(httpx.get(pictures.join("artifacts/comparison")).content)).size == (640, 240)
    until(lambda: not server.bot.unread(), 5, "the summons is marked as read")
    assert server.unknown == []

    server.person("ann").comment(reply, "delete")
    until(lambda: not server.bot.comments(), 10, "the comment is taken back")
    until(lambda: not server.bot.unread(), 5, "the order is marked as read")
    assert httpx.get(link).status_code == 410
    assert httpx.get(pictures.join("result")).status_code == 410
    assert bot.stop() == 0

    assert [file for file in (service.state_dir / "store").rglob("*") if file.is_file()] == []
    with redis.Redis.from_url(f"unix://{valkey.socket_path(service.state_dir)}") as queue:
        left = {key: queue.dump(key) for key in queue.scan_iter(f"*{job}*")}
        assert all(len(value) < 300 for value in left.values()), "only that it was is known"
    ledger = b"".join(file.read_bytes() for file in words["bot_state_dir"].iterdir())
    logs = "".join([*bot.lines, *service.lines[lines_before:]]).encode()
    for trace in ("Ben_Who_Calls", "ann", "grandma", "Grandma", post.url, job, reply.fullname):
        assert trace.encode() not in ledger, trace
    for trace in ("Ben_Who_Calls", "Grandma", "grandma.jpg"):
        assert trace.encode() not in logs, trace
    assert summons.fullname.encode() in ledger, "it will not be answered again"
    assert "Traceback" not in logs.decode()


def test_a_dry_run_says_what_it_would_say_and_writes_nothing(server, shown, service, launch, words):
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = launch("-m", "bot", "--dry-run", "--once", **{**words, "service_url": service.url})
    bot.line("would reply to=t1_c1")
    assert bot.process.wait(20) == 0
    assert any("Here it is in color" in line for line in bot.lines)
    assert server.bot.comments() == []
    assert len(server.bot.unread()) == 1
    assert not words["bot_state_dir"].exists()


def test_once_answers_what_there_is_and_ends(server, shown, service, launch, words):
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = launch("-m", "bot", "--once", **{**words, "service_url": service.url})
    assert bot.process.wait(20) == 0
    assert [comment.text[:28] for comment in server.bot.comments()] == ["**[Here it is in color](http"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"reddit_password": "wrong"},
            "Reddit does not accept the app or its account. Check AUTOCHROME_REDDIT_",
        ),
        ({"public_url": ""}, "AUTOCHROME_PUBLIC_URL is not set"),
        ({"bot_pauze": "1"}, "AUTOCHROME_BOT_PAUZE is no setting. Did you mean AUTOCHROME_BOT_PAUSE?"),
    ],
)
def test_what_is_set_wrong_ends_it_with_a_sentence(words, launch, changed, sentence):
    bot = launch("-m", "bot", **{**words, **changed})
    bot.line(re.escape(sentence))
    assert bot.process.wait(10) == 78
    assert "hunter2" not in "".join(bot.lines)


def chroma(data: bytes) -> np.ndarray:
    """How far each pixel is from gray, 0…255."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return pixels.max(axis=2) - pixels.min(axis=2)
