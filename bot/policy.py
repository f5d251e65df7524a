"""What to do about a mention: rules upon plain values, in the order in which they count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from bot import commands, images, replies
from bot.commands import Command
from bot.database import Database
from bot.hosts import Hosts, host_of
from bot.images import Picture
from bot.limits import Limits
from bot.markdown import read
from bot.models import Comment, Mention, Message, Post
from bot.replies import Facts, Reason

BOTS = {"automoderator", "sneakpeekbot", "reddit"}
"""Accounts that are no persons and must not be answered."""
NOTHING = Facts()
_ALBUMS = ("imgur.com/a/", "imgur.com/gallery/")


@dataclass(frozen=True, slots=True)
class Case:
    """A mention and what lies around it, as Reddit shows it now."""

    mention: Mention
    asked: Comment | Message | None
    parent: Comment | None
    post: Post | None
    mine: Mention | None = None
    """The mention whose answer this one answers."""
    original: Comment | None = None
    """The comment of that earlier mention."""
    original_parent: Comment | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing is to be said."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: Reason
    facts: Facts = NOTHING


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Take back this answer."""

    target: Mention


@dataclass(frozen=True, slots=True)
class Color:
    """Color these of the pictures that there are."""

    chosen: tuple[Picture, ...]
    of: int
    command: Command
    shown_in: str
    """Fullname of what shows them."""


Decision: TypeAlias = Drop | Refuse | Say | Erase | Color


class Policy:
    """Knows the rules."""

    def __init__(self, name: str, database: Database, limits: Limits, hosts: Hosts, over_18: bool) -> None:
        self._name = name
        self._database = database
        self._limits = limits
        self._hosts = hosts
        self._over_18 = over_18

    def hears(self, said: Comment | Message) -> bool:
        """Whether it asks for something, as far as it can be told without looking around."""
        if said.author is None and not (isinstance(said, Message) and said.subreddit):
            return False
        if (said.author or "").lower() in {self._name.lower(), *BOTS}:
            return False
        return self._command(said) is not None

    def decide(self, case: Case) -> Decision:
        """What is to be done. What is obeyed or refused is said once, and nowhere where no bot is wanted."""
        decision = self._decided(case)
        if isinstance(decision, Refuse):
            outcome, is_private = str(decision.reason), decision.reason in replies.IN_PRIVATE
        elif isinstance(decision, Say):
            outcome, is_private = decision.outcome, isinstance(case.asked, Message)
        else:
            return decision
        mention = case.mention
        if _is_moderators(case.asked):
            return decision
        if self._is_unwelcome(mention.subreddit) and (not is_private or mention.channel == "stream"):
            return Drop(outcome)
        return Drop(outcome) if self._limits.is_enough(mention, outcome) else decision

    def withdrawn(self, case: Case) -> str:
        """Why nothing may be said any more of what was begun, since somebody has opted out or a list has grown; "" where it may."""
        people = {case.mention.author_hash, self._database.hash(case.post.author if case.post else None)}
        if any(self._database.has_opted_out("user", who) for who in people if who):
            return "opted_out"
        return "denied" if self._is_unwelcome(case.mention.subreddit) else ""

    def _is_unwelcome(self, subreddit: str) -> bool:
        return bool(subreddit) and (
            self._limits.is_denied(subreddit) or self._database.has_opted_out("banned", subreddit)
        )

    def _decided(self, case: Case) -> Decision:
        asked, post = case.asked, case.post
        if asked is None and post is None:
            return Refuse(Reason.PRIVATE)
        if asked is None or (isinstance(asked, Comment) and (asked.removed or asked.author is None)):
            return Drop("gone")
        command = self._command(asked)
        if command is None:
            return Drop("nothing_asked")
        has_opted_out = self._database.has_opted_out("user", case.mention.author_hash or "?")
        match command.kind:
            case "opt_in":
                return self._change(asked, case.mention.author_hash, out=False)
            case "delete":
                decision = self._erase(case)
                return decision if isinstance(decision, Erase) or not has_opted_out else Drop("opted_out")
        if has_opted_out:
            return Drop("opted_out")
        if command.kind == "opt_out":
            return self._change(asked, case.mention.author_hash, out=True)
        if isinstance(asked, Message) or post is None:
            return Drop("nothing_asked") if isinstance(asked, Message) else Refuse(Reason.PRIVATE)
        return self._keeps_out(case, post) or self._choose(case, asked, post, command)

    def _command(self, said: Comment | Message) -> Command | None:
        if isinstance(said, Message):
            return commands.parse(said.body, self._name, to_bot=True)
        to_bot = self._database.replied_with(said.parent) is not None
        return commands.parse(said.body, self._name, to_bot=to_bot)

    def _change(self, asked: Comment | Message, who: str, out: bool) -> Decision:
        """Somebody wants none of it any more, or wants it again; a moderator for the whole subreddit."""
        if _is_moderators(asked):
            if out:
                self._database.opt_out("subreddit", asked.subreddit)
                return Say(replies.subreddit_opted_out(asked.subreddit), "opted_out")
            for kind in ("subreddit", "banned"):
                self._database.opt_in(kind, asked.subreddit)
            return Say(replies.subreddit_opted_in(asked.subreddit), "opted_in")
        if out:
            self._database.opt_out("user", who)
            return Say(replies.opted_out(), "opted_out")
        self._database.opt_in("user", who)
        return Say(replies.opted_in(), "opted_in")

    def _erase(self, case: Case) -> Decision:
        who = case.mention.author_hash
        target = case.mine
        if target is None:
            called = self._database.of_author(who, case.mention.post)
            earlier = [it for it in called if it.fullname != case.mention.fullname]
            return Erase(earlier[-1]) if earlier else Drop("nothing_to_erase")
        owners = {target.author_hash, self._database.hash(case.post.author if case.post else None)}
        if case.original_parent is not None and case.original_parent.fullname == target.shown_in:
            owners.add(self._database.hash(case.original_parent.author))
        return Erase(target) if who and who in owners else Refuse(Reason.NOT_YOURS)

    def _keeps_out(self, case: Case, post: Post) -> Decision | None:
        """Why nothing is answered here, whatever is asked."""
        if self._limits.is_denied(post.subreddit):
            return Refuse(Reason.DENIED)
        if self._database.has_opted_out("banned", post.subreddit):
            return Refuse(Reason.BANNED)
        states = (
            (post.quarantined, Reason.QUARANTINED),
            (post.removed, Reason.REMOVED),
            (post.archived, Reason.ARCHIVED),
            (post.locked, Reason.LOCKED),
            (post.over_18 and not self._over_18, Reason.OVER_18),
            (self._database.has_opted_out("user", self._database.hash(post.author) or "?"), Reason.OPTED_OUT),
        )
        if found := next((reason for holds, reason in states if holds), None):
            return Refuse(found)
        if limit := self._limits.reached(case.mention):
            reason, facts = limit
            return Drop(reason) if self._limits.was_told(case.mention, reason) else Refuse(reason, facts)
        return None

    def _choose(self, case: Case, asked: Comment, post: Post, command: Command) -> Decision:
        """Which of the pictures."""
        body, parent = asked.body, case.parent
        if case.mine is not None:  # it goes on about the pictures of the first mention
            body = f"{body}\n\n{case.original.body}" if case.original else body
            parent = case.original_parent
        found = images.find(body, parent, post, self._hosts.allows)
        if not found:
            return self._why_none(body, parent, post)
        wanted = range(1, len(found) + 1) if command.which == "all" else command.which
        numbers = [len(found) if number == -1 else number for number in wanted]
        if any(number > len(found) for number in numbers):
            return Refuse(Reason.NO_SUCH_NUMBER, Facts(count=len(found)))
        owners = {"parent": parent, "crosspost": post.crosspost_of}
        owner = owners.get(found[0].why)
        if owner is not None and self._database.has_opted_out(
            "user", self._database.hash(owner.author) or "?"
        ):
            return Refuse(Reason.OPTED_OUT)
        chosen = tuple(found[number - 1] for number in sorted(set(numbers)))
        places = {"comment": asked.fullname, "parent": parent.fullname if parent else post.fullname}
        return Color(chosen, len(found), command, places.get(found[0].why, post.fullname))

    def _why_none(self, body: str, parent: Comment | None, post: Post) -> Refuse:
        if images.is_moving(post):
            return Refuse(Reason.MOVING)
        links = [*read(body).links, *(read(parent.body).links if parent else ()), post.url]
        if any(album in link for link in links for album in _ALBUMS):
            return Refuse(Reason.ALBUM)
        if elsewhere := images.find(body, parent, post):
            return Refuse(Reason.HOST, Facts(host=host_of(elsewhere[0].url)))
        return Refuse(Reason.NO_PICTURE)


def _is_moderators(said: Comment | Message | None) -> bool:
    """Whether it speaks for those who keep a subreddit."""
    return said.moderator if isinstance(said, Comment) else bool(said and said.subreddit)
