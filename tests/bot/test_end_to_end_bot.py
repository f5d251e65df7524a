"""One mention through all processes: Reddit (the fake one), the bot's process, the service, its Valkey, the page; and its end."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image, ImageOps
from skimage import data

from service import local


@pytest.fixture
def bot(launch, service, bot_settings):
    """`python -m bot`, signed in and listening."""
    settings = {**bot_settings, "bot_service_url": service.url, "bot_public_url": service.url}
    bot = launch("-m", "bot", prefix="", **settings)
    bot.line("bot_ready account=u/colorizebot")
    return bot


def test_a_mention_becomes_a_colored_photograph_and_delete_leaves_nothing_of_it(
    server, shown, service, bot, bot_settings, until
):
    lines_before = len(service.lines)
    post = shown(author="Ann_Who_Posted")
    mention = server.person("Ben_Who_Calls").comment(post, "This is my grandma.\n\nu/colorizebot please")
    [reply] = until(server.bot.comments, 10, "an answer")
    link = re.search(r"\*\*\[Here it is in color\]\((\S+)\)\*\*", reply.text)[1]
    page = httpx.get(link)
    assert reply.parent is mention
    for words_of_manners in ("a machine’s guess", "`delete`", "`opt out`", "I am a bot", "Contact"):
        assert words_of_manners in reply.text

    assert (page.status_code, "These colors are a guess" in page.text) == (200, True)
    job = link.rpartition("/")[2]
    pictures = httpx.URL(service.url).join(f"/v1/colorizations/{job}/")
    colored = httpx.get(pictures.join("result"))
    assert chroma(colored.content).mean() > 1, "it is in color"
    assert Image.open(io.BytesIO(httpx.get(pictures.join("artifacts/comparison")).content)).size == (640, 240)
    until(lambda: not server.bot.unread(), 5, "the mention is marked as read")
    assert server.unknown == []

    server.person("Ann_Who_Posted").comment(reply, "delete")
    until(lambda: not server.bot.comments(), 10, "the comment is taken back")
    until(lambda: not server.bot.unread(), 5, "the command is marked as read")
    assert httpx.get(link).status_code == 410
    assert httpx.get(pictures.join("result")).status_code == 410
    sent = (post.url, post.title, "grandma", "Ben_Who_Calls", "Ann_Who_Posted")
    kept = (*sent, job, post.fullname, reply.fullname)
    assert traces(kept, files(bot_settings["bot_state_dir"])) == [], (
        "nor does the log beside the database's file"
    )
    assert bot.stop() == 0
    remembered = files(bot_settings["bot_state_dir"])
    assert traces(kept, remembered) == []
    assert any(mention.fullname.encode() in data for data in remembered.values()), "it is not answered again"

    assert not [path for path in (service.state_dir / "store").rglob("*") if job in str(path)]
    assert traces(sent, files(service.state_dir)) == [], "nor what Valkey wrote down"
    with redis.Redis.from_url(f"unix://{local.valkey_socket(service.state_dir)}") as queue:
        held = everything(queue)
    assert traces(sent, held) == []
    about = {key: value for key, value in held.items() if job in f"{key} {value}"}
    record = about.pop(f"{{autochrome}}:job:{job}")
    assert record.keys() == {b"status", b"created", b"expires", b"secret"}, "only that it was is known"
    assert record[b"status"] == b"canceled"
    assert about.keys() == {"{autochrome}:due"}, "when that, too, is to be forgotten"
    logs = {"bot": "".join(bot.lines).encode(), "service": "".join(service.lines[lines_before:]).encode()}
    assert traces(sent, logs) == []
    assert traces((job, reply.fullname, "Traceback"), {"bot": logs["bot"]}) == []
    assert b"Traceback" not in logs["service"]


def test_what_the_service_finds_in_a_photo_is_what_the_bot_says(server, shown, bot, until):
    photo = Image.fromarray(data.astronaut()).resize((256, 256))
    gray, color, frame = encoded(photo.convert("L")), encoded(photo), photo.convert("P")
    moving = encoded(frame, "GIF", save_all=True, append_images=[frame.rotate(90)])
    expected = {
        gray: "Here it is in color",
        encoded(toned(photo)): "Here it is in color",
        color: "This picture seems to be in color already.",
        moving: "That is a video or an animation",
        gray[: len(gray) // 2]: "its file is cut off or broken",
        b"Dear sir": "not a picture that I can read",
    }
    mentions = [
        server.person(f"person{number}").comment(shown(f"{number}.jpg", file), "u/colorizebot")
        for number, file in enumerate(expected)
    ]
    until(lambda: len(server.bot.comments()) == len(mentions), 20, "an answer to each")
    answers = {said.parent.fullname: said for said in server.bot.comments()}
    for mention, sentence in zip(mentions, expected.values(), strict=True):
        assert sentence in answers[mention.fullname].text

    [in_color] = [said for said in answers.values() if "seems to be in color already" in said.text]
    recolored = server.person("cleo").comment(in_color, "recolor")
    until(lambda: len(server.bot.comments()) > len(mentions), 10, "an answer to recolor")
    [said] = [said for said in server.bot.comments() if said.parent is recolored]
    assert "Here it is in color" in said.text
    until(lambda: not server.bot.unread(), 5, "all are marked as read")


def test_a_dry_run_says_what_it_would_say_and_writes_nothing(server, shown, service, launch, bot_settings):
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = launch(
        "-m", "bot", "--dry-run", "--once", prefix="", **{**bot_settings, "bot_service_url": service.url}
    )
    bot.line("reply_dry_run to=t1_c1")
    assert bot.process.wait(60) == 0
    assert any("Here it is in color" in line for line in bot.lines)
    assert server.bot.comments() == []
    assert len(server.bot.unread()) == 1
    assert not bot_settings["bot_state_dir"].exists()


def test_once_answers_what_there_is_and_ends(server, shown, service, launch, bot_settings):
    server.person("ben").comment(shown(), "u/colorizebot")
    bot = launch("-m", "bot", "--once", prefix="", **{**bot_settings, "bot_service_url": service.url})
    assert bot.process.wait(60) == 0
    assert [comment.text[:28] for comment in server.bot.comments()] == ["**[Here it is in color](http"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"reddit_password": "wrong"},
            "Reddit does not accept the app or its account. Check REDDIT_",
        ),
        ({"bot_public_url": ""}, "BOT_PUBLIC_URL is not set"),
        ({"bot_pol_interval": "1"}, "BOT_POL_INTERVAL is no setting. Did you mean BOT_POLL_INTERVAL?"),
    ],
)
def test_what_is_set_wrong_ends_it_with_a_sentence(bot_settings, launch, changed, sentence):
    bot = launch("-m", "bot", prefix="", **{**bot_settings, **changed})
    bot.line(re.escape(sentence))
    assert bot.process.wait(60) == 78
    assert "hunter2" not in "".join(bot.lines)


def files(folder: Path) -> dict[str, bytes]:
    """All below a folder that can be read: path → bytes."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(queue: redis.Redis) -> dict[str, Any]:
    """All that a Redis holds: key → value."""
    read = {
        "hash": queue.hgetall,
        "list": lambda key: queue.lrange(key, 0, -1),
        "none": lambda key: None,  # it has expired meanwhile
        "set": queue.smembers,
        "stream": queue.xrange,
        "string": queue.get,
        "zset": lambda key: queue.zrange(key, 0, -1),
    }
    return {key.decode(): read[queue.type(key).decode()](key) for key in queue.scan_iter()}


def traces(words: Iterable[str], held: Mapping[str, object]) -> list[tuple[str, str]]:
    """Which words are where: by name or in what is there."""
    return [
        (word, name)
        for word in words
        for name, value in held.items()
        if word in name or word.encode() in (value if isinstance(value, bytes) else repr(value).encode())
    ]


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def toned(image: Image.Image) -> Image.Image:
    """In sepia."""
    return ImageOps.colorize(image.convert("L"), (30, 15, 5), (250, 235, 205), (150, 115, 75))


def chroma(file: bytes) -> np.ndarray:
    """How far each pixel is from gray, 0…255."""
    pixels = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
    return pixels.max(axis=2) - pixels.min(axis=2)
