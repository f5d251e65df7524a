"""The conversations of docs/bot_examples.md are what the bot says today. To write the page anew:
`WRITE_EXAMPLES=1 .venv/bin/python -m pytest tests/bot/test_examples.py`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/bot_examples.md"
HEAD = """\
# Conversations with the bot

What people write to the [Reddit bot](bot.md) and what it answers. The bot is the real one; Reddit is the one of its tests, and the
service behind it a stand-in that colors at once, so the links lead nowhere. Written by
`WRITE_EXAMPLES=1 .venv/bin/python -m pytest tests/bot/test_examples.py`; without the variable, that test fails where the page is not
what the bot says.
"""


@pytest.fixture
def bot(here, quick_service):
    code = "https://code.example/autochrome"
    return here(bot_service_url=quick_service.url, bot_operator="the_operator", bot_code_url=code)


@pytest.fixture
def say(server, bot):
    """Write a comment that is no summons, and let the bot read it."""

    def comment(name, on, text):
        server.person(name).comment(on, text)
        bot.work(lambda: not server.bot.unread())

    return comment


def test_the_page_of_conversations_is_what_the_bot_says(server, ask, say, bot, gray_photo, quick_service):
    written = [HEAD]

    def photo(title, data=None, author="ann", **traits):
        name = f"{title.partition(',')[0].lower().replace(' ', '_')}.jpg"
        url = server.picture(name, gray_photo() if data is None else data)
        return server.person(author).post("OldPhotos", title, **{"url": url, **traits})

    def tell(title, about, *posts):
        threads = "\n\nAnd later:\n\n".join(thread(server.world, post) for post in posts)
        written.append(f"## {title}\n\n{about}\n\n{threads}\n")
        quick_service.jobs.clear()

    post = photo("Grandma, 1931")
    ask("ben", post)
    ask("celia", post)
    tell("A summons", "The name alone, below a photograph; whoever comes later gets the link.", post)

    server.subreddit("Portraits", allowed_media=["static"])
    url = server.picture("the_aunts.jpg", gray_photo(size=(72, 90)))
    post = server.person("ann").post("Portraits", "The aunts, 1927", url=url)
    ask("vera", post)
    tell(
        "The picture in the comment",
        "Where the subreddit allows that; the caption is what screen readers read.",
        post,
    )

    post = photo("Uncle Fred, 1944")
    said = ask("cleo", post, "What a face!\n\nHey u/colorizebot, could you color this photo vivid? Danke!")
    ask("cleo", said, "muted please")
    tell("Options", "In a line of its own, or in answer to the bot, where no name is needed.", post)

    urls = [server.picture(f"attic_{number}.jpg", gray_photo(size=(64, 40 + number))) for number in (1, 3)]
    album = [urls[0], {"status": "failed"}, urls[1]]
    post = server.person("dora").post("OldPhotos", "From the attic", gallery=album)
    ask("emil", post, "u/colorizebot 3")
    ask("fay", post, "u/colorizebot 2")
    tell("A number in a gallery", "Of three items; the second failed when it was uploaded.", post)

    original = photo("Their wedding, 1920", author="gus")
    first = server.person("hal").post("pics", "Look at these two", crosspost_of=original)
    ask("ida", first)
    quick_service.jobs.clear()
    second = server.person("hal").post("history", "A wedding", crosspost_of=original)
    ask("gus", ask("jill", second), "Please delete this, they are my grandparents")
    assert quick_service.jobs == {}
    about = "u/hal shows what u/gus posted, who may say `delete` there, too."
    tell("A crosspost", about, first, second)

    in_color = gray_photo(size=(100, 80))
    quick_service.failing[in_color] = "photo_in_color"
    post = photo("At the fair", in_color)
    ask("jon", ask("jon", post), "recolor")
    tell("In color already", "The service says so, and can be told otherwise.", post)

    post = photo("My mother, 1951", author="kim")
    said = ask("lea", post)
    ask("mallory", said, "delete")
    ask("kim", said, "delete")
    assert quick_service.jobs == {}
    about = "Others may not say it. The service holds nothing of it any more."
    tell("Delete, by whoever posted the photograph", about, post)

    post = photo("The parade")
    ask("mod_of_oldphotos", ask("max", post), "delete", as_moderator=True)
    assert quick_service.jobs == {}
    about = "In a distinguished comment. The service holds nothing of it any more."
    tell("Delete, by a moderator", about, post)

    first, second = photo("Rex, 1938", author="nan"), photo("Minka, 1939", author="nan")
    ask("nan", ask("oli", first), "opt out")
    quick_service.jobs.clear()
    ask("pia", second)
    assert quick_service.jobs == {}
    tell("Opt out", "It holds for all that u/nan posts.", first, second)

    post = photo("A soldier")
    say("quin", post, "I hate u/colorizebot")
    say("rosa", post, "Please don’t call u/colorizebot on this one")
    say("sam", post, "u/colorizebot got the uniform wrong last time")
    assert quick_service.jobs == {}
    tell("Talk that is no summons", "The bot stays silent.", post)

    post = photo("Our street, in moving pictures", url="https://v.redd.it/abc")
    ask("tom", post)
    tell("A refusal", "It says why, and what would help.", post)

    post = photo("The school")
    ursula = server.person("ursula")
    ursula.comment(post, "u/colorizebot")
    post.locked = True
    bot.work(ursula.unread)
    [notice] = ursula.unread()
    tell("Where no comment can be left", "The thread was locked after the call.", post)
    message = quoted(notice.thing.text, 1)
    written.append(f"A message to u/ursula, “{notice.thing.subject}”:\n\n{message}\n")

    page = readable("\n".join(written), server.url)
    if os.environ.get("WRITE_EXAMPLES"):
        PAGE.write_text(page)
    assert page == PAGE.read_text(), "WRITE_EXAMPLES=1 writes it anew"


def thread(world, post):
    """A post and its comments as nested quotes."""
    lines = [quoted(f"**{post.title}**, posted to r/{post.subreddit} by u/{post.author}", 1)]

    def add(parent, depth):
        for comment in world.replies(parent):
            role = " (moderator)" if comment.distinguished else ""
            picture = f"[picture: {comment.caption}]\n\n" if comment.media else ""
            text = "*[deleted]*" if comment.deleted else f"{picture}{comment.text}"
            lines.append(quoted(f"**u/{comment.author}**{role}\n\n{text}", depth))
            add(comment, depth + 1)

    add(post, 2)
    return "\n>\n".join(lines)


def quoted(text, depth):
    return "\n".join(
        f"{'> ' * depth}{line}" if line else ("> " * depth).rstrip() for line in text.split("\n")
    )


def readable(page, url):
    """Without what differs from run to run, ports and ids, and with links that are whole."""
    page = page.replace(f"{url}/i/", "https://i.redd.it/").replace("](/r/", "](https://www.reddit.com/r/")
    return re.sub(r"/photos/[0-9a-f]{32}", "/photos/…", page)
