"""What to do about a mention: who may ask for what, and where and how often the bot answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from bot import replies
from bot.commands import Command, parse_command, read_markdown
from bot.database import CountedBy, Database
from bot.images import ImageLink, album_of, find_images, host_of, is_video
from bot.models import Comment, Mention, Message, Post, State
from bot.reddit import Reddit, RedditError
from bot.replies import NO_DETAILS, Details, Reason
from bot.settings import Settings

HOUR, DAY = 3600.0, 24 * 3600.0
PACE_WINDOW, PACE = 60.0, 5
"""Whoever calls more often than this in so many seconds is no person."""
BOTTIQUETTE_RETRY = 600.0
"""Seconds after which r/Bottiquette's page is asked for again when it could not be read."""
BOTTIQUETTE_LISTS = ("disallowed", "permission", "posts-only")
"""Lists of that page under which a bot that comments may not come uninvited."""
log = logging.getLogger("autochrome.bot")


@dataclass(frozen=True, slots=True)
class Context:
    """A mention and what lies around it, as Reddit shows it now."""

    mention: Mention
    request: Comment | Message | None
    """What was written."""
    parent: Comment | None
    post: Post | None
    earlier: Mention | None = None
    """The mention whose reply this one answers."""
    earlier_comment: Comment | None = None
    earlier_parent: Comment | None = None
    earlier_shown: Post | Comment | None = None
    """What showed the picture of that mention."""
    linked: Post | None = None
    """Another post that this one, or what it is about, links to."""
    albums: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Albums that were opened: address → their pictures."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing is to be said."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: Reason
    details: Details = NO_DETAILS


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Take back the reply to this mention."""

    target: Mention


@dataclass(frozen=True, slots=True)
class Wait:
    """Decide again when it is known whether the reply to this mention was said."""

    uncertain: Mention


@dataclass(frozen=True, slots=True)
class Color:
    """Color these of the pictures that there are."""

    images: tuple[ImageLink, ...]
    total: int
    command: Command
    shown_in: str
    """Fullname of what shows them."""


Decision: TypeAlias = Ignore | Refuse | Say | Erase | Wait | Color


class Policy:
    """The rules, in the order in which they count."""

    def __init__(
        self, settings: Settings, database: Database, reddit: Reddit, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._database = database
        self._reddit = reddit
        self._clock = clock
        self._denied = {name.lower() for name in settings.bot_deny}

    def is_request(self, written: Comment | Message) -> bool:
        """Whether it asks for something, as far as it can be told without looking around."""
        if written.author is None and not (isinstance(written, Message) and written.subreddit):
            return False
        if written.automated or (written.author or "").lower() == self._settings.reddit_username.lower():
            return False
        return self.command(written) is not None

    def takes_away(self, written: Comment | Message) -> bool:
        """Whether it is to be heard before all that asks for pictures."""
        command = self.command(written)
        return command is not None and command.kind in ("delete", "opt_out")

    def decide(self, context: Context) -> Decision:
        """What is to be done. What is obeyed or refused is said once, and nowhere where no bot is wanted."""
        decision = self._decide(context)
        if isinstance(decision, Refuse):
            outcome, is_private = str(decision.reason), decision.reason in replies.IN_PRIVATE
        elif isinstance(decision, Say):
            outcome, is_private = decision.outcome, isinstance(context.request, Message)
        elif isinstance(decision, Color):
            return Ignore(reason) if (reason := self._is_a_bot_war(context.mention)) else decision
        else:
            return decision
        mention = context.mention
        if _is_from_moderators(context.request):
            return decision
        if reason := self._is_a_bot_war(mention):
            return Ignore(reason)
        if self._is_unwelcome(mention.subreddit) and (not is_private or mention.channel == "stream"):
            return Ignore(outcome)
        return Ignore(outcome) if self.has_said_enough(mention, outcome) else decision

    def withdrawn(self, context: Context) -> str:
        """Why nothing may be said any more of what was begun, since somebody has opted out or a list has grown; "" where
        it may.
        """
        origins = [it for post in (context.post, context.linked) if post for it in post.origins]
        people = (context.mention.author_hash, *(self._database.hash(it.author) for it in origins))
        if any(self._has_opted_out(person) for person in people):
            return "opted_out"
        return "denied" if self._is_unwelcome(context.mention.subreddit) else ""

    def _decide(self, context: Context) -> Decision:
        request, post = context.request, context.post
        if request is None and post is None:
            return Refuse(Reason.PRIVATE)
        if request is None or (isinstance(request, Comment) and (request.removed or request.author is None)):
            return Ignore("gone")
        command = self.command(request)
        if command is None:
            return Ignore("nothing_asked")
        author = context.mention.author_hash
        if command.kind == "opt_in":
            return self._opt_in(request, author)
        has_opted_out = self._has_opted_out(author)
        if command.kind == "delete":
            decision = self._delete(context)
            return (
                decision if isinstance(decision, Erase | Wait) or not has_opted_out else Ignore("opted_out")
            )
        if has_opted_out:
            return Ignore("opted_out")
        if command.kind == "opt_out":
            return self._opt_out(request, author)
        if isinstance(request, Message):
            return Ignore("nothing_asked")
        if post is None:
            return Refuse(Reason.PRIVATE)
        return self._why_not_here(context, post) or self._choose_images(context, request, post, command)

    def command(self, written: Comment | Message) -> Command | None:
        """What it asks, as far as it can be told without looking around."""
        in_reply = isinstance(written, Message) or self._database.replied_with(written.parent) is not None
        return parse_command(written.body, self._settings.reddit_username, in_reply=in_reply)

    # What takes something away, or changes who is served.

    def _opt_out(self, request: Comment | Message, author: str) -> Decision:
        """Of a person; from a moderator, of the whole subreddit."""
        if _is_from_moderators(request):
            self._database.opt_out("subreddit", request.subreddit)
            return Say(replies.subreddit_opted_out(request.subreddit), "opted_out")
        self._database.opt_out("user", author)
        return Say(replies.opted_out(), "opted_out")

    def _opt_in(self, request: Comment | Message, author: str) -> Decision:
        if _is_from_moderators(request):
            self._database.opt_in("subreddit", request.subreddit)
            self._database.opt_in("banned", request.subreddit)
            return Say(replies.subreddit_opted_in(request.subreddit), "opted_in")
        self._database.opt_in("user", author)
        return Say(replies.opted_in(), "opted_in")

    def _delete(self, context: Context) -> Decision:
        """Whoever called the bot may have its reply deleted, whoever posted the picture first or here, and moderators."""
        author = context.mention.author_hash
        target = context.earlier
        if target is None:
            mentions = self._database.of_author(author, context.mention.post)
            others = [it for it in mentions if it.fullname != context.mention.fullname]
            # Anybody may have answered a reply that the bot does not know of yet.
            found = others[-1] if others else self._database.uncertain_below(context.mention.post)
            if found is None:
                return Ignore("nothing_to_erase")
            return Wait(found) if found.state == State.REPLYING else Erase(found)
        shown, post = context.earlier_shown, context.post
        people = [it.author for place in (shown, post) if isinstance(place, Post) for it in place.origins]
        people += [shown.author] if isinstance(shown, Comment) else []
        owners = {target.author_hash, *(self._database.hash(name) for name in people)}
        may = _is_from_moderators(context.request) or (author and author in owners)
        return Erase(target) if may else Refuse(Reason.NOT_YOURS)

    # Which pictures.

    def _choose_images(self, context: Context, request: Comment, post: Post, command: Command) -> Decision:
        body, parent = request.body, context.parent
        if context.earlier is not None:  # it goes on about the pictures of the first mention
            body = f"{body}\n\n{context.earlier_comment.body}" if context.earlier_comment else body
            parent = context.earlier_parent
        linked = context.linked
        found = find_images(body, parent, post, self._settings.bot_image_hosts.allows, linked, context.albums)
        if not found:
            return _why_no_image(body, parent, post)
        named = () if command.which == "all" else command.which
        numbers = [len(found) if number == -1 else number for number in named]
        if any(number > len(found) for number in numbers):
            return Refuse(Reason.NO_SUCH_NUMBER, Details(count=len(found)))
        stills = [image for image in found if image.url]
        chosen = [image for image in stills if image.index in numbers] if numbers else stills
        if not chosen:
            return Refuse(Reason.NO_STILL)
        place = found[0].found_in
        if place == "linked" and linked and (reason := self._why_not_this(linked)):
            return Refuse(reason)
        if place == "parent" and parent and self._has_opted_out(self._database.hash(parent.author)):
            return Refuse(Reason.OPTED_OUT)
        shown_in = {
            "comment": request.fullname,
            "parent": parent.fullname if parent else "",
            "linked": linked.origins[-1].fullname if linked else "",
        }
        images = tuple(chosen if command.which else chosen[:1])
        return Color(images, len(found), command, shown_in.get(place, post.origins[-1].fullname))

    def _why_not_this(self, post: Post) -> Reason | None:
        """Why its picture is left alone: by who took it there, or by who showed it first."""
        rules = (
            (any(it.removed for it in post.origins), Reason.REMOVED),
            (any(it.over_18 for it in post.origins) and not self._settings.bot_over_18, Reason.OVER_18),
            (
                any(self._has_opted_out(self._database.hash(it.author)) for it in post.origins),
                Reason.OPTED_OUT,
            ),
        )
        return next((reason for holds, reason in rules if holds), None)

    # Where, for whom and how often.

    def refresh(self) -> None:
        """Read r/Bottiquette's page again, once a day. Where it cannot be read, the last one holds."""
        due = self._database.progress().bottiquette_due_at or 0.0
        if self._settings.bot_ignore_bottiquette or self._clock() < due:
            return
        again = DAY
        try:
            page = self._reddit.wiki("Bottiquette", "robots_txt_json")
            self._database.save_bottiquette(_subreddits_on(page))
        except (RedditError, ValueError) as error:
            again = BOTTIQUETTE_RETRY
            log.warning("bottiquette_failed error=%s detail=%r", type(error).__name__, str(error))
        self._database.save_progress(bottiquette_due_at=self._clock() + again)

    def _why_not_here(self, context: Context, post: Post) -> Decision | None:
        """Why nothing is answered, whatever is asked."""
        rules = (
            (self._is_denied(post.subreddit), Reason.DENIED),
            (self._database.has_opted_out("banned", post.subreddit), Reason.BANNED),
            (post.quarantined, Reason.QUARANTINED),
            (post.removed, Reason.REMOVED),
            (post.archived, Reason.ARCHIVED),
            (post.locked, Reason.LOCKED),
        )
        if found := next((reason for holds, reason in rules if holds), self._why_not_this(post)):
            return Refuse(found)
        return self._over_limit(context.mention)

    def _is_denied(self, subreddit: str) -> bool:
        """Whether bots, or this one, are to stay out."""
        if subreddit.lower() in self._denied or self._database.has_opted_out("subreddit", subreddit):
            return True
        return not self._settings.bot_ignore_bottiquette and self._database.is_in_bottiquette(subreddit)

    def _is_unwelcome(self, subreddit: str) -> bool:
        return bool(subreddit) and (
            self._is_denied(subreddit) or self._database.has_opted_out("banned", subreddit)
        )

    def _has_opted_out(self, person: str) -> bool:
        """`person`: a hash; "" is nobody."""
        return bool(person) and self._database.has_opted_out("user", person)

    def _over_limit(self, mention: Mention) -> Decision | None:
        """That this mention would go beyond a limit is said once, to this person or in this thread."""
        settings, count = self._settings, self._database.count
        last_hour = self._clock() - HOUR
        limits: tuple[tuple[int, CountedBy, str, float, Reason], ...] = (
            (settings.bot_user_limit, "author_hash", mention.author_hash, last_hour, Reason.LIMIT_USER),
            (
                settings.bot_subreddit_limit,
                "subreddit",
                mention.subreddit,
                last_hour,
                Reason.LIMIT_SUBREDDIT,
            ),
            (settings.bot_thread_limit, "post", mention.post, 0.0, Reason.LIMIT_THREAD),
        )
        for limit, column, value, since, reason in limits:
            if limit and value and count(column, value, since) >= limit:
                if reason == Reason.LIMIT_THREAD:
                    was_told = count("post", mention.post, 0.0, reason) > 0
                else:
                    was_told = count("author_hash", mention.author_hash, last_hour, reason) > 0
                return Ignore(reason) if was_told else Refuse(reason, Details(wait=HOUR if since else 0))
        return None

    def _is_a_bot_war(self, mention: Mention) -> str:
        """Why one who speaks so often is not spoken to: at the pace of a program, or enough in this thread; "" where it may be."""
        author, created, limit = mention.author_hash, mention.created_at, self._settings.bot_thread_user_limit
        if not author:
            return ""
        if self._database.count_written(author, created - PACE_WINDOW, created) > PACE:
            return "pace"
        is_enough = (
            bool(limit and mention.post) and self._database.count_in_thread(author, mention.post) >= limit
        )
        return "limit_thread_user" if is_enough else ""

    def has_said_enough(self, mention: Mention, outcome: str) -> bool:
        """Whether this person was told the same in this thread today, or has had as many words this hour as anybody gets."""
        now, limit, author = self._clock(), self._settings.bot_user_limit, mention.author_hash
        if not author:
            return False
        if mention.post and self._database.count_said(author, now - DAY, outcome=outcome, post=mention.post):
            return True
        return bool(limit) and self._database.count_said(author, now - HOUR) >= limit


def _why_no_image(body: str, parent: Comment | None, post: Post) -> Refuse:
    if is_video(post):
        return Refuse(Reason.VIDEO)
    links = [*read_markdown(body).links, *(read_markdown(parent.body).links if parent else ()), post.url]
    if any(album_of(link) for link in links):
        return Refuse(Reason.ALBUM)
    if any(it.gallery for it in post.origins):
        return Refuse(Reason.NO_STILL)
    if elsewhere := find_images(body, parent, post):
        return Refuse(Reason.HOST, Details(host=host_of(elsewhere[0].url)))
    return Refuse(Reason.NO_IMAGE)


def _is_from_moderators(written: Comment | Message | None) -> bool:
    """Whether it speaks for those who keep a subreddit."""
    return written.moderator if isinstance(written, Comment) else bool(written and written.subreddit)


def _subreddits_on(page: str) -> set[str]:
    """Names in small letters. Raises ValueError where the page is none of that kind."""
    document = json.loads(page)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    lists = [document.get(name) or [] for name in BOTTIQUETTE_LISTS]
    return {str(name).lower().removeprefix("r/") for names in lists for name in names}
