"""What the bot says on Reddit: at most once, so that it is known afterward; and how it is taken back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from autochrome import Autochrome, AutochromeError, NotAllowedError
from bot import replies
from bot.database import Database
from bot.models import Comment, Mention, Post, State, Task
from bot.reddit import (
    DeletedError,
    ForbiddenError,
    HeldError,
    Reddit,
    RedditError,
    ThrottledError,
    UncertainError,
)
from bot.replies import About
from bot.richtext import document
from bot.settings import Settings
from bot.uploads import MAX_UPLOADS

MAX_RETRY_DELAY = 3600.0
HOLD = 3600.0
"""Seconds for which nothing is said after Reddit has refused the account or the links in what it says."""
MAX_LOOKS = 8
"""For a reply, where neither the thread nor the account's comments can be seen."""
SWEEP_SIZE = 100
"""Replies that are asked about at once; Reddit takes a hundred names."""
MANY = 3
"""Replies of which Reddit shows nothing at all: that is more likely its fault than that all are gone."""
Kind: TypeAlias = Literal["comment", "message"]
"""What Reddit limits apart from each other."""
NOT_THE_PICTURE = {"THREAD_LOCKED", "TOO_OLD", "DOMAIN_BANNED", "USER_BLOCKED", "USER_MUTED"}
"""Of Reddit's codes: why a comment is refused, with a picture or without."""
log = logging.getLogger("autochrome.bot")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a comment shows beside its words."""

    media: str
    """Reddit's id of it."""
    caption: str
    """What is on it, for who cannot see it."""


_KINDS: dict[str, replies.Kind] = {"colored": "picture", "opted_out": "farewell"}
"""By outcome."""


class Outbox:
    """Writes into the database what is about to be said, says it, and writes what came of it."""

    def __init__(
        self, settings: Settings, database: Database, reddit: Reddit, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._reddit = reddit
        self._clock = clock
        self._retry_delay = settings.bot_retry_delay
        self._about = About(settings.contact_url, settings.bot_code_url or "")
        self._holds: dict[Kind, tuple[float, str]] = {}
        """Until when nothing of a kind is said, and why."""

    def held(self) -> set[str]:
        """Why Reddit takes no comments or messages just now."""
        return {reason for until, reason in self._holds.values() if until > self._clock()}

    def hold(self, kind: Kind, seconds: float, reason: str) -> None:
        """Say nothing of a kind for so long."""
        self._holds[kind] = (self._clock() + seconds, reason)
        log.warning("%s_held reason=%s seconds=%.0f", kind, reason, seconds)

    def release(self, reason: str) -> None:
        """What was held for that may be said again."""
        self._holds = {kind: it for kind, it in self._holds.items() if it[1] != reason}

    def check(self, kind: Kind) -> None:
        """Raises HeldError where nothing of a kind is said just now."""
        until, reason = self._holds.get(kind, (0.0, ""))
        if until > self._clock():
            raise HeldError(until - self._clock(), reason)

    def _raise_if_held(self, kind: Kind, error: RedditError) -> None:
        """Hold back all of a kind, where a refusal would meet them all."""
        if isinstance(error, ForbiddenError) and error.code == "DOMAIN_BANNED":
            error = HeldError(HOLD, "domain_banned")
        elif isinstance(error, ForbiddenError) and self._is_suspended(error):
            error = HeldError(HOLD, "suspended")
        if isinstance(error, HeldError):
            self.hold(kind, error.seconds, error.reason)
            raise error

    def _is_suspended(self, error: ForbiddenError) -> bool:
        """Whether that is why: a refusal without a word may also be the subreddit's."""
        with suppress(RedditError):
            return not error.code and self._reddit.is_suspended()
        return False

    def reply(
        self, mention: Mention, text: str, outcome: str, final_state: State, picture: Picture | None = None
    ) -> bool:
        """Below the mention, signed. Raises ThrottledError and ForbiddenError, when nothing was said; the mention is then as it was.

        Whether a picture was refused, and the comment made without it.
        """
        if mention.fullname.startswith("t4_"):
            private = replies.signed(text, self._about, "message")
            self._send_private(mention, outcome, lambda: self._reddit.reply(mention.fullname, private))
            return False
        self.check("comment")
        # Who finds it so after a kill is to look later, as Reddit shows a new comment late.
        now = self._clock()
        due_at = now + self._retry_delay
        sending = {"outcome": outcome, "final_state": final_state, "due_at": due_at}
        self._database.update(mention.fullname, State.REPLYING, now, **sending)
        signed = replies.signed(text, self._about, _KINDS.get(outcome, "comment"))
        try:
            comment, is_refused = self._say(mention.fullname, signed, picture, due_at)
        except UncertainError:
            self.postpone(mention, State.REPLYING, "no_answer")
            return False
        except (ThrottledError, ForbiddenError) as error:
            self._put_back(mention)
            self._raise_if_held("comment", error)
            raise
        except DeletedError:  # the next step sees whether the mention is
            self._put_back(mention)
            self.postpone(mention, mention.state, "gone")
            return False
        self._confirm(mention, outcome, final_state, comment)
        age = self._clock() - mention.seen_at
        log.info("reply_sent mention=%s outcome=%s after_s=%.1f", mention.fullname, outcome, age)
        return is_refused

    def _say(
        self, fullname: str, text: str, picture: Picture | None, due_at: float
    ) -> tuple[Comment | None, bool]:
        """The comment, and whether it had to do without its picture."""
        if picture is None:
            return self._reddit.reply(fullname, text), False
        try:
            rich_text = document(text, picture.media, picture.caption)
            return self._reddit.reply(fullname, text, rich_text), False
        except ForbiddenError as error:  # whatever Reddit has against it: nothing was said
            if error.code in NOT_THE_PICTURE:
                raise
            log.warning("picture_refused mention=%s code=%s", fullname, error.code)
            # Before the next call, whose answer may be lost, too: nobody is to look for the picture or to send it again.
            self._database.update(
                fullname, State.REPLYING, self._clock(), due_at=due_at, media="", uploads=MAX_UPLOADS
            )
            return self._reddit.reply(fullname, text), True

    def message(self, mention: Mention, to: str, text: str, outcome: str) -> None:
        """To a person. Raises ThrottledError, when nothing was said."""
        subject = replies.message_subject()
        signed = replies.signed(text, self._about, "message")
        self._send_private(mention, outcome, lambda: self._reddit.message(to, subject, signed))

    def _send_private(self, mention: Mention, outcome: str, send: Callable[[], object]) -> None:
        """Messages cannot be looked for: whether or not one arrived, it is not sent again."""
        self.check("message")
        sending = {"outcome": outcome, "final_state": State.REFUSED, "is_private": True}
        self._database.update(mention.fullname, State.REPLYING, self._clock(), **sending)
        try:
            send()
        except ThrottledError as error:
            self._put_back(mention)
            self._raise_if_held("message", error)
            raise
        except RedditError as error:
            if isinstance(error, ForbiddenError) and self._is_suspended(error):
                self._put_back(mention)
                self._raise_if_held("message", HeldError(HOLD, "suspended"))
            log.info("message_failed mention=%s error=%s", mention.fullname, type(error).__name__)
        self._database.update(mention.fullname, State.REFUSED, self._clock(), outcome=outcome)

    def resume(self, mention: Mention) -> None:
        """After a loss: whether it was said. If not, the mention goes back to where it can be said anew."""
        if mention.is_private or mention.final_state is None:
            self._database.update(mention.fullname, State.REFUSED, self._clock())
            return
        try:
            mine = self._reddit.replies_of_mine(mention.fullname)
        except (
            DeletedError,
            ForbiddenError,
        ):  # nobody can tell; to say it again would be worse than not to say it
            if mention.failed("unseen") < MAX_LOOKS:
                self.postpone(mention, State.REPLYING, "unseen")
            else:
                self._database.update(mention.fullname, State.GIVEN_UP, self._clock(), outcome="uncertain")
            return
        mine = [it for it in mine if it.fullname != mention.reply]  # what was said before an edit
        if not mine:
            state = State.COLORED if self._database.tasks(mention.fullname) else State.SEEN
            # Perhaps it was its picture that Reddit could not digest.
            again = {"outcome": "", "giving_up": "", "media": "", "uploads": MAX_UPLOADS}
            self._database.update(mention.fullname, state, self._clock(), **again)
            return
        self._confirm(mention, mention.outcome, mention.final_state, mine[0])
        log.info("reply_found mention=%s outcome=%s", mention.fullname, mention.outcome)

    def postpone(self, mention: Mention, state: State, why: str) -> None:
        """Again later, each time twice as late. `why`: so that one reason does not use up the tries of another."""
        delay = min(self._retry_delay * 2 ** min(mention.attempts, 16), MAX_RETRY_DELAY)
        now = self._clock()
        failed = {"attempts": mention.attempts + 1, "failure": why, "failures": mention.failed(why) + 1}
        self._database.update(mention.fullname, state, now, due_at=now + delay, **failed)

    def _confirm(self, mention: Mention, outcome: str, state: State, comment: Comment | None) -> None:
        """It was said; None: without a comment, as in a dry run."""
        reply, link = (comment.fullname, comment.permalink) if comment else ("", "")
        said = {"outcome": outcome, "reply": reply, "reply_link": link}
        self._database.update(mention.fullname, state, self._clock(), **said)

    def _put_back(self, mention: Mention) -> None:
        before = {"outcome": mention.outcome, "giving_up": mention.giving_up}
        self._database.update(mention.fullname, mention.state, self._clock(), **before)


class Eraser:
    """Takes replies back: on Reddit, at the service, in the database. What it could not finish can be repeated."""

    def __init__(self, database: Database, reddit: Reddit, service: Autochrome) -> None:
        self._database = database
        self._reddit = reddit
        self._service = service

    def erase(self, mention: Mention) -> None:
        """The reply to a mention, and those that only led to it. Raises RedditError and AutochromeError."""
        for each in (*self._database.duplicates_of(mention.fullname), mention):
            if each.reply:
                self._reddit.delete(each.reply)
            self._delete_tasks(each.fullname)
            self._database.erase(each.fullname)
            log.info("mention_erased mention=%s", each.fullname)

    def try_to_delete_tasks(self, fullname: str) -> None:
        """Of a mention that is answered without them. This must not stop anything; what is left the sweep finds."""
        try:
            self._delete_tasks(fullname)
        except AutochromeError as error:
            log.warning("delete_failed mention=%s error=%s", fullname, type(error).__name__)

    def _delete_tasks(self, fullname: str) -> None:
        for task in self._database.tasks(fullname):
            self.delete_task(task)

    def delete_task(self, task: Task) -> None:
        """At the service, too. Raises AutochromeError.

        A job whose secret was in an answer that was lost stays there until its time is over.
        """
        try:
            self._service.delete(task.job_id, task.secret)
        except NotAllowedError as error:
            if not error.code.startswith(
                "secret_"
            ):  # it is the bot's own key that is wrong, which can be set right
                raise
            log.warning("delete_failed mention=%s error=%s", task.mention, error.code)
        self._database.delete_task(task.job_id)


class Sweeper:
    """Once a day: what was deleted on Reddit is erased, and what people did not like is taken back."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reddit: Reddit,
        eraser: Eraser,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._database = database
        self._reddit = reddit
        self._eraser = eraser
        self._clock = clock
        self.removed = 0
        """Replies that others removed, since the start."""

    def is_due(self) -> bool:
        return (
            self._clock() >= (self._database.progress().swept_at or 0.0) + self._settings.bot_sweep_interval
        )

    def run(self) -> None:
        """All replies. Raises RedditError where Reddit does not answer: then it is due again."""
        for fullname in self._database.with_leftover_tasks():
            self._eraser.try_to_delete_tasks(fullname)
        replied = self._database.replied()
        removed: Counter[str] = Counter()
        for start in range(0, len(replied), SWEEP_SIZE):
            removed.update(self._sweep(replied[start : start + SWEEP_SIZE]))
        self.removed += removed.total()
        for subreddit, count in removed.items():
            log.warning("replies_removed subreddit=%s count=%d", subreddit, count)
            if count >= MANY:  # where moderators clear the bot away, it is not wanted
                self._database.opt_out("banned", subreddit)
        self._database.save_progress(swept_at=self._clock())

    def _sweep(self, replied: list[Mention]) -> list[str]:
        """Subreddits of the replies that others have removed, each as often as it was."""
        removed: list[str] = []
        shown = self._shown(replied)
        originals = self._info({name for it in replied for name in (it.shown_in, it.post) if name})
        if not originals and len(replied) >= MANY:
            log.warning("sweep_failed replies=%d detail='Reddit shows nothing of them'", len(replied))
            return removed
        for mention in replied:
            if self._clock() > mention.seen_at + self._settings.bot_keep_for:
                self._database.forget_pictures(mention.fullname)
            reason = self._why_erase(mention, shown, originals)
            if reason is None:
                continue
            if reason == "reply_removed":
                removed.append(mention.subreddit)
            try:
                self._eraser.erase(mention)
                log.info("reply_swept mention=%s reason=%s", mention.fullname, reason)
            except (ForbiddenError, DeletedError, AutochromeError) as error:
                log.warning("sweep_failed mention=%s error=%s", mention.fullname, type(error).__name__)
        return removed

    def _shown(self, replied: Sequence[Mention]) -> dict[str, Comment]:
        """The replies as others see them, which alone shows what was removed; as we do, where others may not look."""
        shown: dict[str, Comment] = {}
        try:
            seen = self._reddit.seen_by_others(it.reply for it in replied)
            is_banned = any(it.removed for it in seen.values()) and self._reddit.is_shadow_banned()
            shown = {} if is_banned else seen
        except ThrottledError:
            raise
        except RedditError as error:
            log.warning("visibility_failed error=%s detail=%r", type(error).__name__, str(error))
        ours = self._info(it.reply for it in replied if it.reply not in shown)
        return shown | {name: it for name, it in ours.items() if isinstance(it, Comment)}

    def _info(self, names: Iterable[str]) -> dict[str, Post | Comment]:
        """What Reddit leaves out counts as gone, and one answer that holds nothing would erase all: it is asked twice."""
        wanted = list(names)
        found = self._reddit.info(wanted) if wanted else {}
        missing = [name for name in wanted if name not in found]
        return found | self._reddit.info(missing) if missing else found

    def _why_erase(
        self, mention: Mention, shown: Mapping[str, Comment], originals: Mapping[str, Post | Comment]
    ) -> str | None:
        """Why this reply has to go; None where it may stay."""
        for name in (mention.post, mention.shown_in):
            original = originals.get(name)
            origins = original.origins if isinstance(original, Post) else (original,)
            if name and any(it is None or it.removed or it.author is None for it in origins):
                return "original_deleted"
        reply = shown.get(mention.reply)
        if reply is None or reply.removed or reply.author is None:
            return "reply_removed"
        return "low_score" if reply.score <= self._settings.bot_score_floor else None
