"""The fake Reddit, asked by the real PRAW."""

from __future__ import annotations

from collections.abc import Iterator

import praw
import prawcore
import pytest
from fake_reddit import Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server
        assert not server.unknown


@pytest.fixture
def reddit(server: Server) -> praw.Reddit:
    return praw.Reddit(**server.settings())


def test_a_mention_is_read_answered_and_marked(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("OldPhotos", "Grandma, 1932", url="https://i.redd.it/a.jpg")
    summons = server.person("ben").comment(post, "u/colorizebot please")

    (mention,) = reddit.inbox.mentions(limit=100)
    assert (mention.fullname, mention.author, mention.body) == (summons.fullname, "ben", "u/colorizebot please")
    assert mention.submission.url == "https://i.redd.it/a.jpg"
    reply = mention.reply("There you are.")
    assert (reply.author, reply.parent_id, reply.score, reply.edited) == ("colorizebot", "t1_c1", 1, False)
    mention.mark_read()

    assert not list(reddit.inbox.unread())
    assert [comment.text for comment in server.world.replies(summons)] == ["There you are."]
    assert [notice.kind for notice in server.person("ben").unread()] == ["comment_reply"]
    (call,) = server.calls_to("/api/comment", "POST")
    assert (call.form["thing_id"], call.form["text"], call.user) == ("t1_c1", "There you are.", "colorizebot")
    assert call.status == 200
