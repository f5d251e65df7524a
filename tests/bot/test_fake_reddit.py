"""The fake Reddit, asked by the real PRAW."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_reddit
import httpx
import praw
import prawcore
import pytest
from fake_reddit import Server


def test_a_mention_is_read_answered_and_marked(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("OldPhotos", "Grandma, 1932", url="https://i.redd.it/a.jpg")
    written = server.person("ben").comment(post, "u/colorizebot please")

    (mention,) = reddit.inbox.mentions(limit=100)
    assert (mention.fullname, mention.author, mention.body) == (
        written.fullname,
        "ben",
        "u/colorizebot please",
    )
    assert mention.submission.url == "https://i.redd.it/a.jpg"
    reply = mention.reply("There you are.")
    assert (reply.author, reply.parent_id, reply.score, reply.edited) == ("colorizebot", "t1_c1", 1, False)
    mention.mark_read()

    assert not list(reddit.inbox.unread())
    assert [comment.text for comment in server.world.replies(written)] == ["There you are."]
    assert [notice.kind for notice in server.person("ben").unread()] == ["comment_reply"]
    (call,) = server.calls_to("/api/comment", "POST")
    assert (call.form["thing_id"], call.form["text"], call.user) == ("t1_c1", "There you are.", "colorizebot")
    assert call.status == 200


def test_both_shapes_of_a_thread(server: Server, reddit: praw.Reddit) -> None:
    ann = server.person("ann")
    post = ann.post("pics", "Town", text="see below")
    first = ann.comment(post, "one")
    second = server.person("ben").comment(first, "two")
    third = ann.comment(second, "three")
    ann.comment(third, "four")

    tree = reddit.submission(post.id)
    assert [comment.body for comment in tree.comments.list()] == ["one", "two", "three", "four"]
    alone = reddit.comment(third.id).refresh()
    assert ([reply.body for reply in alone.replies], alone.parent().body) == (["four"], "two")
    assert server.calls[-1].path == f"/comments/{post.id}/_/{third.id}"
    (whole,) = server.calls_to(f"/comments/{post.id}")
    assert whole.query["sort"] == "confidence"
    found = next(iter(reddit.subreddit("pics").comments(limit=1)))
    assert (found.body, found.refresh().parent().parent().body) == ("four", "two")
    assert server.calls[-1].path == f"/r/pics/comments/{post.id}/town/{found.id}"
    assert reddit.comment(first.id).parent() == post.id


def test_the_streams_go_on_where_they_were(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("pics")
    server.person("ann").post("art")
    stream = reddit.subreddit("pics+art").stream.comments(pause_after=0)
    mentions = praw.models.util.stream_generator(reddit.inbox.mentions, pause_after=0)
    for text in ("one", "u/colorizebot two"):
        server.person("ben").comment(post, text)
    assert [next(stream).body, next(stream).body, next(stream)] == ["one", "u/colorizebot two", None]
    assert [next(mentions).body, next(mentions)] == ["u/colorizebot two", None]
    server.person("ben").comment(post, "u/ColorizeBot three")
    assert (next(stream).body, next(mentions).body) == ("u/ColorizeBot three",) * 2
    for path in ("/message/mentions", "/r/pics+art/comments"):
        assert "t1_c2" in {call.query.get("before") for call in server.calls_to(path)}


def test_lists_come_in_pages(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("pics")
    for number in range(150):
        server.person("ben").comment(post, f"u/colorizebot {number}")
    read = [int(comment.body.split()[1]) for comment in reddit.inbox.unread(limit=None)]
    assert read == list(range(149, -1, -1))
    assert [call.query.get("after") for call in server.calls_to("/message/unread")] == [None, "t1_c51"]
    newer = list(reddit.inbox.unread(limit=3, params={"before": "t1_c100"}))
    assert [comment.id for comment in newer] == ["c103", "c102", "c101"], "those next to the anchor"
    ben = server.person("ben")
    ben.delete(server.world.comments["c100"])
    assert not list(reddit.inbox.unread(params={"before": "t1_c100"})), "nothing is next to what is gone"
    reddit.inbox.mark_read([reddit.comment(f"c{number}") for number in range(1, 31)])
    assert len(list(reddit.inbox.unread(limit=None))) == 119
    assert [len(call.form["id"].split(",")) for call in server.calls_to("/api/read_message")] == [25, 5]


def test_what_was_deleted_or_removed_shows_as_such(server: Server, reddit: praw.Reddit) -> None:
    ann = server.person("ann")
    posts = [ann.post("pics", text="words") for _ in range(3)]
    comment = server.person("ben").comment(posts[0], "hello")
    ann.delete(posts[1])
    server.person("a moderator").remove(posts[2])
    server.person("ben").delete(comment)
    names = [*(post.fullname for post in posts), comment.fullname, "t3_never"]
    there, deleted, removed, silent = reddit.info(fullnames=names)
    assert (there.author, there.removed_by_category, there.selftext) == ("ann", None, "words")
    assert [it.is_robot_indexable for it in (there, deleted, removed)] == [True, False, False]
    assert (deleted.author, deleted.removed_by_category, deleted.selftext) == (None, "deleted", "[deleted]")
    assert (removed.author, removed.removed_by_category, removed.selftext) == (None, "moderator", "[removed]")
    assert (silent.author, silent.body) == (None, "[deleted]")


def test_the_bot_edits_and_deletes_its_own(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("pics")
    mine = reddit.submission(post.id).reply("first")
    mine.edit("second")
    assert (server.world.comments[mine.id].text, reddit.comment(mine.id).edited > 0) == ("second", True)
    mine.delete()
    mine.delete()
    assert server.bot.comments() == []
    theirs = server.person("ann").comment(post, "hands off")
    reddit.comment(theirs.id).delete()
    assert not theirs.deleted
    with pytest.raises(praw.exceptions.RedditAPIException, match="NOT_AUTHOR"):
        reddit.comment(theirs.id).edit("mine")


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({"locked": True}, "403 HTTP"),
        ({"archived": True}, "TOO_OLD"),
        ({"removed_by": "deleted"}, "DELETED_LINK"),
    ],
)
def test_some_threads_take_no_comment(server: Server, reddit: praw.Reddit, traits: dict, said: str) -> None:
    post = server.person("ann").post("pics", **traits)
    with pytest.raises((praw.exceptions.RedditAPIException, prawcore.Forbidden), match=said):
        reddit.submission(post.id).reply("hello")
    assert not server.world.comments


def test_some_doors_are_closed(server: Server, reddit: praw.Reddit) -> None:
    server.subreddit("secret", private=True)
    server.subreddit("odd", quarantined=True)
    server.subreddit("gone", banned=True)
    server.subreddit("strict", banned_users={"colorizebot"})
    for name, error in (("secret", "403"), ("odd", "403"), ("gone", "404"), ("never", "404")):
        with pytest.raises(prawcore.ResponseException, match=error):
            list(reddit.subreddit(name).comments())
    post = server.person("ann").post("strict")
    with pytest.raises(prawcore.Forbidden):
        reddit.submission(post.id).reply("hello")


def test_closed_subreddits_are_left_out_of_several(server: Server, reddit: praw.Reddit) -> None:
    for name in ("pics", "art", "secret"):
        server.person("ann").comment(server.person("ann").post(name), name)
    server.subreddit("secret", private=True)
    shown = {
        names: [comment.body for comment in reddit.subreddit(names).comments()]
        for names in ("all", "pics+secret")
    }
    assert shown == {"all": ["art", "pics"], "pics+secret": ["pics"]}


def test_some_comments_are_not_taken(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("pics")
    for words, said in (("", "NO_TEXT"), ("x" * 10_001, "TOO_LONG")):
        with pytest.raises(praw.exceptions.RedditAPIException, match=said):
            reddit.submission(post.id).reply(words)
    server.person("ann").block("colorizebot")
    with pytest.raises(praw.exceptions.RedditAPIException, match="USER_BLOCKED"):
        reddit.submission(post.id).reply("hello")
    assert not server.bot.comments()


def test_who_is_told_of_a_comment(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("pics")
    mine = reddit.submission(post.id).reply("mine, u/colorizebot")
    cid = server.person("cid")
    cid.comment(reply_to := server.world.comments[mine.id], "thanks u/colorizebot")
    cid.comment(post, "u/a11 u/b22 u/c33 u/colorizebot")
    cid.comment(post, "mail me at menu/colorizebot")
    cid.message("colorizebot", "hi", "there")
    kinds = [(type(item).__name__, getattr(item, "type", "")) for item in reddit.inbox.unread()]
    assert kinds == [("Message", "unknown"), ("Comment", "comment_reply")], reply_to
    reddit.redditor("cid").message(subject="hello", message="you")
    next(iter(reddit.inbox.messages())).reply("fine")
    assert [notice.thing.subject for notice in cid.unread()] == ["hello", "re: hi"]
    reddit.redditor("cid").block()
    cid.comment(post, "u/colorizebot again")
    assert not list(reddit.inbox.mentions())


def test_moderators_speak_as_such(server: Server, reddit: praw.Reddit) -> None:
    mod = server.person("mod")
    mod.distinguish(mod.comment(server.person("ann").post("pics"), "u/colorizebot"))
    mod.message("colorizebot", "bots", "opt out", subreddit="pics")
    message, comment = reddit.inbox.unread()
    assert (comment.distinguished, comment.author) == ("moderator", "mod")
    assert (type(message).__name__, message.subreddit, message.author) == ("SubredditMessage", "pics", None)


@pytest.mark.usefixtures("retry_at_once")
def test_tokens_are_checked_and_get_old(server: Server, reddit: praw.Reddit) -> None:
    assert (reddit.user.me().name, [call.path for call in server.calls]) == (
        "colorizebot",
        ["/api/v1/access_token", "/api/v1/me"],
    )
    server.clock.advance(86401)
    assert list(reddit.inbox.unread()) == []
    assert [call.status for call in server.calls[2:]] == [401, 200, 200], "PRAW fetches a new token"
    for wrong in ({"password": "guess"}, {"client_secret": "guess"}):
        with pytest.raises((prawcore.OAuthException, prawcore.ResponseException)):
            praw.Reddit(**server.settings() | wrong).user.me()


def test_a_refresh_token_and_an_app_of_nobody(server: Server) -> None:
    plain = {key: value for key, value in server.settings().items() if key not in {"username", "password"}}
    assert praw.Reddit(**plain, refresh_token="a-refresh-token").user.me().name == "colorizebot"
    server.person("ann").post("pics", "A title")
    nobody = praw.Reddit(**plain)
    assert nobody.submission("p1").title == "A title"
    with pytest.raises((prawcore.Forbidden, praw.exceptions.ReadOnlyException)):
        nobody.submission("p1").reply("hello")


def test_a_gallery_has_an_order_and_a_crosspost_a_source(server: Server, reddit: praw.Reddit) -> None:
    pictures = ["https://preview.redd.it/b.jpg?width=640&s=1", "https://preview.redd.it/a.png?width=640&s=2"]
    gallery = server.person("ann").post("pics", gallery=pictures)
    cross = server.person("ben").post("art", crosspost_of=gallery)
    again = reddit.submission(cross.id)
    assert again.crosspost_parent == gallery.fullname
    (source,) = again.crosspost_parent_list
    order = [item["media_id"] for item in source["gallery_data"]["items"]]
    assert source["is_gallery"]
    assert order != list(source["media_metadata"])
    assert [source["media_metadata"][name]["s"]["u"] for name in order] == pictures


def test_what_it_does_not_know_is_told(server: Server, reddit: praw.Reddit) -> None:
    with pytest.raises(prawcore.NotFound):
        reddit.get("api/v1/nothing/of/that")
    assert server.unknown == ["GET /api/v1/nothing/of/that"]
    server.unknown.clear()


def test_users_subreddits_and_wikis(server: Server, reddit: praw.Reddit) -> None:
    rules = '{"disallowed": ["suicidewatch"]}'
    server.subreddit("Bottiquette", wiki={"robots_txt_json": rules}, over_18=True)
    assert reddit.subreddit("bottiquette").wiki["robots_txt_json"].content_md == rules
    assert reddit.subreddit("bottiquette").over18
    with pytest.raises(prawcore.NotFound):
        assert reddit.subreddit("bottiquette").wiki["other"].content_md
    post = server.person("ann").post("pics", "Mine")
    server.person("ann").comment(post, "and mine")
    assert [it.title for it in reddit.redditor("ann").submissions.new()] == ["Mine"]
    assert [it.body for it in reddit.redditor("ann").comments.new()] == ["and mine"]
    server.person("ann").vote(post, 41)
    assert (reddit.submission(post.id).score, reddit.redditor("ann").id) == (42, server.world.user("ann").id)
    server.world.user("ann", suspended=True)
    with pytest.raises(prawcore.NotFound):
        list(reddit.redditor("ann").comments.new())


def test_it_is_led_from_outside(launch: Callable[..., Any], tmp_path: Path) -> None:
    program = "import runpy, sys; sys.path.insert(0, 'tests/bot'); runpy.run_module('fake_reddit', run_name='__main__')"
    launched = launch("-c", program, "--certificate", str(tmp_path / "authority.pem"))
    url = launched.line(r"ready: (\S+)")[1]
    settings = Server().settings() | {"reddit_url": url, "oauth_url": url}
    with httpx.Client(base_url=f"{url}/fake") as fake:
        picture = fake.put("/pictures/a.jpg", content=b"gray").json()["url"]
        made = fake.post(
            "/people/ann/post", json={"subreddit": "pics", "title": "Old", "url": picture}
        ).json()
        fake.post(
            "/people/ben/comment", json={"on": made["fullname"], "text": "u/colorizebot"}
        ).raise_for_status()
        reddit = praw.Reddit(**settings)
        (mention,) = reddit.inbox.unread()
        assert httpx.get(mention.submission.url).content == b"gray"

        fault = {
            "path": "/api/comment",
            "kind": "RATELIMIT",
            "words": "Take a break for 9 minutes.",
            "when": "after",
        }
        fake.post("/faults", json=fault).raise_for_status()
        with pytest.raises(praw.exceptions.RedditAPIException, match="9 minutes"):
            mention.reply("There you are.")
        assert [comment["body"] for comment in fake.get("/people/colorizebot").json()["comments"]] == [
            "There you are."
        ]
        assert fake.get("/calls").json()[-1]["form"]["text"] == "There you are."

        fake.patch(f"/things/{made['fullname']}", json={"locked": True}).raise_for_status()
        refused = fake.post("/people/ben/comment", json={"on": made["fullname"], "text": "more"})
        assert (refused.status_code, "THREAD_LOCKED" in refused.text) == (409, True)
        assert fake.post("/people/ben/dance", json={}).status_code == 422
        assert fake.patch("/things/t3_p1", json={"lokked": True}).status_code == 422
        fake.post("/clock", json={"advance": 90_000})
        assert reddit.user.me() == "colorizebot"
        assert 401 in [call["status"] for call in fake.get("/calls").json()]
        assert fake.get("/unknown").json() == []
    assert launched.stop() == 0
    assert "BEGIN CERTIFICATE" in (tmp_path / "authority.pem").read_text()


def test_people_act_while_calls_come_in(server: Server, reddit: praw.Reddit) -> None:
    post = server.person("ann").post("pics")

    def mention(name: str) -> None:
        for number in range(20):
            server.person(name).comment(post, f"u/colorizebot {number}")

    threads = [threading.Thread(target=mention, args=(f"user{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        list(reddit.inbox.unread(limit=None))
    for thread in threads:
        thread.join()
    assert len({item.id for item in reddit.inbox.unread(limit=None)}) == 80


@pytest.mark.usefixtures("retry_at_once")
def test_the_example_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(fake_reddit.__file__).parent / "README.md").read_text()
    exec(text.partition("```python\n")[2].partition("```")[0], {"data": b"gray"})
    printed = capsys.readouterr().out
    assert printed.startswith("['There you are.', 'There you are.'] [Call(")
    assert printed.endswith(" []\n")


def test_texts_are_escaped_unless_raw_json_is_asked_for(server: Server, reddit: praw.Reddit) -> None:
    server.person("ann").post("pics", "R&D <3", gallery=["https://preview.redd.it/a.jpg?width=640&s=1"])
    bearer = {"Authorization": "bearer token-0", "User-Agent": "a test"}
    assert httpx.get(f"{server.url}/api/info", headers=bearer).status_code == 401
    reddit.user.me()
    bearer["Authorization"] = "bearer token-1"
    shown = {}
    for query in ({"id": "t3_p1"}, {"id": "t3_p1", "raw_json": "1"}):
        data = httpx.get(f"{server.url}/api/info", params=query, headers=bearer).json()["data"]["children"][
            0
        ]["data"]
        shown[len(query)] = (data["title"], data["media_metadata"]["p1media1"]["s"]["u"].partition("?")[2])
    assert shown == {1: ("R&amp;D &lt;3", "width=640&amp;s=1"), 2: ("R&D <3", "width=640&s=1")}
