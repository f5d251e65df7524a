"""People who act: they post, comment, change their minds and vote."""

from __future__ import annotations

from typing import Any

from fake_reddit.things import Comment, Message, Notice, Post
from fake_reddit.world import World


class Person:
    """One user's hands."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.user = world.user(name)
        self.name = self.user.name

    def post(self, subreddit: str, title: str = "An old photo", **traits: Any) -> Post:
        """With `url`, `text`, `gallery` (addresses), `crosspost_of` (a post), `over_18`, `locked`, `preview`, …"""
        return self.world.add_post(self.name, subreddit, title, **traits)

    def comment(self, on: Post | Comment, text: str) -> Comment:
        return self.world.add_comment(self.name, on, text)

    def message(self, to: str, subject: str, text: str, subreddit: str = "") -> Message:
        """With `subreddit` in the name of its moderators."""
        return self.world.add_message(self.name, to, subject, text, subreddit)

    def edit(self, thing: Post | Comment, text: str) -> None:
        self.world.edit(self.name, thing, text)

    def delete(self, thing: Post | Comment) -> None:
        self.world.delete(self.name, thing)

    def vote(self, thing: Post | Comment, points: int) -> None:
        """Add to a thing's score; a loud voter gives many."""
        with self.world.lock:
            thing.score += points

    def block(self, name: str) -> None:
        with self.world.lock:
            self.user.blocked.add(name.lower())

    def remove(self, thing: Post | Comment) -> None:
        """As a moderator does."""
        with self.world.lock:
            if isinstance(thing, Post):
                thing.removed_by = "moderator"
            else:
                thing.removed = True

    def share(self, thing: Post) -> str:
        """A link such as apps make, of which only Reddit knows where it leads."""
        with self.world.lock:
            token = f"s{len(self.world.shares) + 1}hArE"
            self.world.shares[token] = thing.permalink
            return f"https://www.reddit.com/r/{thing.subreddit}/s/{token}"

    def distinguish(self, comment: Comment) -> None:
        """As a moderator does with one of their own."""
        with self.world.lock:
            comment.distinguished = True

    def comments(self) -> list[Comment]:
        """This person's, the oldest first, without the deleted ones."""
        with self.world.lock:
            mine = [c for c in self.world.comments.values() if c.author.lower() == self.name.lower()]
            return [comment for comment in mine if not comment.deleted]

    def posts(self) -> list[Post]:
        """This person's, the oldest first, without the deleted ones."""
        with self.world.lock:
            mine = [p for p in self.world.posts.values() if p.author.lower() == self.name.lower()]
            return [post for post in mine if post.removed_by != "deleted"]

    def unread(self) -> list[Notice]:
        with self.world.lock:
            return [notice for notice in self.user.inbox if notice.new]
