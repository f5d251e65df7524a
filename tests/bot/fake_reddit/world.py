"""The state of this Reddit, and what can be done in it; rules are applied here, whoever acts."""

from __future__ import annotations

import re
import threading
from typing import Any

from fake_reddit.clock import Clock
from fake_reddit.refusals import FormError, RefusedError
from fake_reddit.things import Comment, Message, Notice, Post, Subreddit, User

MENTION = re.compile(r"(?<![\w/])/?u/([A-Za-z0-9_-]{3,20})", re.IGNORECASE)
MOST_MENTIONS = 3
"""With more names than that in a comment, nobody is notified."""


class World:
    """Everything by name or id; `lock` is held by whoever acts or looks."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.subreddits: dict[str, Subreddit] = {}
        self.posts: dict[str, Post] = {}
        self.comments: dict[str, Comment] = {}
        self.messages: dict[str, Message] = {}
        self.pictures: dict[str, tuple[bytes, str]] = {}
        """Path under /i/ → bytes and media type."""
        self.media: dict[str, str] = {}
        """Id of an uploaded picture → its state: valid, unprocessed or failed."""
        self.processing = "valid"
        """The state of the next ones."""
        self.shares: dict[str, str] = {}
        """Last part of a share link, /r/name/s/…, → path of what it leads to."""
        self.most_replies = 200
        """To one thing that a thread shows."""
        self._count = 0

    def _stamp(self, author: str) -> dict[str, Any]:
        self._count += 1
        return {"number": self._count, "author": author, "created": self.clock.now()}

    def user(self, name: str, **traits: Any) -> User:
        """Who has that name; a new one where nobody has."""
        with self.lock:
            if (known := self.users.get(name.lower())) is None:
                known = User(name, f"u{len(self.users) + 1}", created=self.clock.now())
                self.users[name.lower()] = known
            for trait, value in traits.items():
                setattr(known, trait, value)
            return known

    def subreddit(self, name: str, **traits: Any) -> Subreddit:
        """The subreddit of that name; a new one where none is."""
        with self.lock:
            if (known := self.subreddits.get(name.lower())) is None:
                known = Subreddit(name, f"s{len(self.subreddits) + 1}", created=self.clock.now())
                self.subreddits[name.lower()] = known
            for trait, value in traits.items():
                setattr(known, trait, value)
            return known

    def thing(self, fullname: str) -> Post | Comment | Message:
        """Raises KeyError where there is no such thing."""
        kind, _, id = fullname.partition("_")
        shelves: dict[str, dict[str, Any]] = {"t1": self.comments, "t3": self.posts, "t4": self.messages}
        found: Post | Comment | Message = shelves[kind][id]
        return found

    def replies(self, to: Post | Comment) -> list[Comment]:
        """The oldest first."""
        return [comment for comment in self.comments.values() if comment.parent is to]

    def enter(self, name: str) -> Subreddit:
        """The subreddit, for somebody who may look inside."""
        subreddit = self.subreddits.get(name.lower())
        if subreddit is None or subreddit.banned:
            raise RefusedError(404, "banned" if subreddit else None)
        if subreddit.private:
            raise RefusedError(403, "private")
        if subreddit.quarantined:
            raise RefusedError(403, "quarantined")
        return subreddit

    def add_post(self, author: str, subreddit: str, title: str, **traits: Any) -> Post:
        """`url` makes a link, `text` a self post, `gallery` and `crosspost_of` what they say."""
        with self.lock:
            stamp = self._stamp(author)
            post = Post(
                f"p{len(self.posts) + 1}", **stamp, subreddit=self.subreddit(subreddit).name, title=title
            )
            for trait, value in traits.items():
                setattr(post, trait, value)
            post.is_self = not (post.url or post.gallery or post.crosspost_of)
            self.posts[post.id] = post
            return post

    def add_comment(
        self, author: str, parent: Post | Comment, text: str, media: str = "", caption: str = ""
    ) -> Comment:
        """Raises RefusedError or FormError where Reddit would say no."""
        with self.lock:
            post = parent if isinstance(parent, Post) else parent.post
            self._may_comment(author, parent, post, text)
            if media and "static" not in self.subreddit(post.subreddit).allowed_media:
                raise FormError("MEDIA_NOT_ALLOWED")
            if media and media not in self.media:
                raise FormError("INVALID_MEDIA")
            shown = {"post": post, "parent": parent, "text": text, "media": media, "caption": caption}
            comment = Comment(f"c{len(self.comments) + 1}", **self._stamp(author), **shown)
            self.comments[comment.id] = comment
            self._notify(comment)
            return comment

    def _may_comment(self, author: str, parent: Post | Comment, post: Post, text: str) -> None:
        subreddit = self.subreddit(post.subreddit)
        if self.user(author).suspended:
            raise RefusedError(403)
        if subreddit.banned or subreddit.private or author.lower() in subreddit.banned_users:
            raise RefusedError(403, "private" if subreddit.private else None)
        if (post.locked or getattr(parent, "locked", False)) and not self.user(author).is_mod:
            raise RefusedError(403, "THREAD_LOCKED", "Comments are locked.")
        if post.archived:
            raise FormError("TOO_OLD")
        if post.removed_by == "deleted":
            raise FormError("DELETED_LINK")
        if isinstance(parent, Comment) and (parent.deleted or parent.removed):
            raise FormError("DELETED_COMMENT")
        if author.lower() in self.user(parent.author).blocked:
            raise FormError("USER_BLOCKED")
        if not text.strip():
            raise FormError("NO_TEXT")
        if len(text) > 10_000:
            raise FormError("TOO_LONG")

    def _notify(self, comment: Comment) -> None:
        parent = comment.parent
        notified = {comment.author.lower()}
        if parent.author.lower() not in notified:
            notified.add(parent.author.lower())
            self._tell(parent.author, comment, "post_reply" if isinstance(parent, Post) else "comment_reply")
        names = dict.fromkeys(name.lower() for name in MENTION.findall(comment.text))
        if len(names) <= MOST_MENTIONS:
            for name in names:
                if name in self.users and name not in notified:
                    self._tell(name, comment, "username_mention")

    def _tell(self, name: str, thing: Comment | Message, kind: str) -> None:
        reader = self.user(name)
        if thing.author.lower() not in reader.blocked:
            reader.inbox.append(Notice(thing, kind))

    def add_message(self, author: str, to: str, subject: str, text: str, subreddit: str = "") -> Message:
        """From a person, or with `subreddit` from its moderators."""
        with self.lock:
            if self.user(author).suspended:
                raise RefusedError(403)
            if to.lower() not in self.users:
                raise FormError("USER_DOESNT_EXIST")
            message = Message(
                f"m{len(self.messages) + 1}",
                **self._stamp(author),
                to=to,
                subject=subject,
                text=text,
                subreddit=subreddit,
            )
            self.messages[message.id] = message
            self._tell(to, message, "message")
            return message

    def edit(self, actor: str, thing: Post | Comment, text: str) -> None:
        with self.lock:
            self._own(actor, thing)
            thing.text = text
            if isinstance(thing, Comment):
                thing.media = thing.caption = ""
            thing.edited = self.clock.now()

    def delete(self, actor: str, thing: Post | Comment) -> None:
        with self.lock:
            self._own(actor, thing)
            if isinstance(thing, Post):
                thing.removed_by = "deleted"
            else:
                thing.deleted = True

    def _own(self, actor: str, thing: Post | Comment) -> None:
        if thing.author.lower() != actor.lower():
            raise FormError("NOT_AUTHOR")
        if isinstance(thing, Comment) and thing.deleted:
            raise FormError("DELETED_COMMENT")
