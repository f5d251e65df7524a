"""The steps of a mention: seen → queued → colored → replied; or refused, given up, erased."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import httpx

from bot import replies
from bot.client import (
    Busy,
    Client,
    ClientError,
    NotAllowed,
    NotFound,
    Unavailable,
)
from bot.coloring import Coloring, RefusedError
from bot.database import Database
from bot.download import (
    Unreachable,
)
from bot.erasing import Eraser
from bot.errors import Forbidden, RedditError, SignedOut, Throttled
from bot.errors import Unavailable as RedditUnavailable
from bot.images import Picture
from bot.models import Comment, Mention, Message, Post, State
from bot.outbox import Outbox
from bot.policy import Case, Color, Drop, Erase, Policy, Refuse, Say
from bot.reddit import Reddit
from bot.replies import IN_PRIVATE, Colored, Facts, Reason
from bot.settings import Settings

MAX_ATTEMPTS = 8
"""Failures of one mention that nobody knows the reason of, until it is given up."""
LOOK_AGAIN = 1.0
"""Seconds."""
_FORBIDDEN = {"THREAD_LOCKED": Reason.LOCKED, "TOO_OLD": Reason.ARCHIVED}
log = logging.getLogger("autochrome.bot")


class Answering:
    """Takes the next step of each mention that is due."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reddit: Reddit,
        service: Client,
        web: httpx.Client,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        """`web`: for pictures."""
        self._settings = settings
        self._database = database
        self._reddit = reddit
        self._service = service
        self._web = web
        self._policy = policy
        self._clock = clock
        self._outbox = Outbox(database, reddit, clock, settings.bot_backoff)
        self._eraser = Eraser(database, reddit, service)
        self._coloring = Coloring(settings, database, service, web, clock)

    def advance(self, due: Sequence[Mention], heard: dict[str, Comment | Message]) -> None:
        """All of them: first each is begun, so that the service has many at once; then each is brought to its end.

        `heard`: what was last listened to, for what Reddit does not show by its name. Raises Throttled, SignedOut
        and Unavailable, the last with the mention put off that met it, as it may be that thread alone; whatever else
        goes wrong with one is noted with it.
        """
        cases = self._cases([it for it in due if it.state != State.QUEUED or self._has_moved(it)], heard)
        for case in cases:
            if case.mention.state in (State.SEEN, State.REPLYING):
                self._guarded(case, self._begin)
        for case in cases:
            now = self._database.mention(case.mention.fullname)
            if now and now.state in (State.QUEUED, State.COLORED) and now.due_at <= self._clock():
                self._guarded(replace(case, mention=now), self._finish)

    def _has_moved(self, mention: Mention) -> bool:
        """Whether there is something to do about it; a look at the service is cheaper than one at Reddit."""
        try:
            tasks = self._database.tasks(mention.fullname)
            if all(self._service.get(task.job_id).is_over for task in tasks):
                return True
        except ClientError:
            return True
        again = self._clock() + LOOK_AGAIN
        self._database.update(mention.fullname, State.QUEUED, self._clock(), due_at=again)
        return False

    # What lies around.

    def _cases(self, due: Sequence[Mention], heard: dict[str, Comment | Message]) -> list[Case]:
        """Asked for a hundred at once: the comments, then what they belong to, then what those answered."""
        things: dict[str, Post | Comment | None] = {}

        def know(names: Iterable[str]) -> None:
            wanted = [
                name for name in dict.fromkeys(names) if name[:3] in ("t1_", "t3_") and name not in things
            ]
            if wanted:
                things.update(dict.fromkeys(wanted) | self._reddit.info(wanted))

        def comment(name: str) -> Comment | None:
            found = things.get(name)
            return found if isinstance(found, Comment) else None

        know(name for s in due for name in (s.fullname, s.post))
        parents = {s.fullname: c.parent for s in due if (c := comment(s.fullname))}
        mine = {
            name: found for name, parent in parents.items() if (found := self._database.replied_with(parent))
        }
        know([*parents.values(), *(earlier.fullname for earlier in mine.values())])
        originals = {name: comment(earlier.fullname) for name, earlier in mine.items()}
        know(original.parent for original in originals.values() if original)
        cases = []
        for mention in due:
            post = things.get(mention.post)
            original = originals.get(mention.fullname)
            asked: Comment | Message | None = comment(mention.fullname)
            if asked is None and not isinstance(post, Post):
                asked = heard.get(mention.fullname)
            cases.append(
                Case(
                    mention,
                    asked,
                    comment(parents.get(mention.fullname, "")),
                    post if isinstance(post, Post) else None,
                    mine.get(mention.fullname),
                    original,
                    comment(original.parent) if original else None,
                )
            )
        return cases

    def _guarded(self, case: Case, step: Callable[[Case], None]) -> None:
        """A step of which no failure stops the others, but such as they all would meet."""
        name = case.mention.fullname
        try:
            step(case)
        except (Throttled, SignedOut):
            raise
        except RedditUnavailable:
            mention = self._database.mention(name) or case.mention
            self._outbox.postpone(mention, mention.state)
            raise
        except RefusedError as refused:
            self._refuse(case, refused.reason, refused.facts)
        except NotAllowed as error:  # that is ours to set right, and nothing for people to read
            log.error("the service refuses us, see AUTOCHROME_SERVICE_KEY: %s", error.detail)
            self._put_off(case, Reason.BUSY, attempts=None)
        except (Busy, Unavailable, Unreachable) as error:
            log.warning("waiting mention=%s because=%s", name, type(error).__name__)
            self._put_off(case, Reason.BUSY, attempts=None)
        except (ClientError, RedditError) as error:
            log.warning("failed mention=%s because=%s", name, type(error).__name__)
            self._put_off(case, Reason.FAILED, attempts=MAX_ATTEMPTS)
        except Exception as error:  # a fault of ours: its words may hold what nobody may read in a log
            log.error("failed mention=%s fault=%s at=%s", name, type(error).__name__, place(error))
            self._put_off(case, Reason.FAILED, attempts=MAX_ATTEMPTS)

    def _put_off(self, case: Case, reason: Reason, attempts: int | None) -> None:
        """Again later, or never: after so many attempts, and when it is too old."""
        mention = self._database.mention(case.mention.fullname) or case.mention
        is_old = self._clock() > mention.seen_at + self._settings.bot_patience
        if not is_old and (attempts is None or mention.attempts < attempts):
            self._outbox.postpone(mention, mention.state)
        elif mention.giving_up == reason:  # not even that could be said
            self._give_up(mention, reason)
        else:
            self._database.update(mention.fullname, mention.state, self._clock(), giving_up=reason)
            self._guarded(replace(case, mention=mention), lambda it: self._refuse(it, reason, Facts()))

    # From seen to queued.

    def _begin(self, case: Case) -> None:
        mention = case.mention
        if mention.state == State.REPLYING:
            self._outbox.resume(mention)
            return
        decision = self._policy.decide(case)
        match decision:
            case Drop(outcome):
                self._give_up(mention, outcome)
            case Refuse(reason, facts):
                self._refuse(case, reason, facts)
            case Say(text, outcome):
                self._say(case, text, outcome, State.REPLIED)
            case Erase(target):
                self._eraser.erase(target)
                self._database.erase(mention.fullname)
            case Color():
                self._color(case, decision)

    def _color(self, case: Case, wanted: Color) -> None:
        """Send the pictures to the service, unless somebody was faster in this thread."""
        mention = case.mention
        free: list[Picture] = []
        for picture in wanted.chosen:
            owner = self._database.claim(
                mention.post, picture.url, wanted.command.vividness, mention.fullname
            )
            if owner == mention.fullname:
                free.append(picture)
                continue
            earlier = self._database.mention(owner)
            if earlier is None or earlier.state != State.REPLIED:
                self._database.release(mention.fullname)
                again = self._clock() + LOOK_AGAIN
                self._database.update(mention.fullname, State.SEEN, self._clock(), due_at=again)
                return
            if len(wanted.chosen) == 1 or (not free and picture is wanted.chosen[-1]):
                self._database.update(
                    mention.fullname, State.SEEN, self._clock(), duplicate_of=earlier.fullname
                )
                self._say(case, replies.again(earlier.reply_link), "again", State.REPLIED)
                return
        sent = self._coloring.send(mention, wanted, free)
        for old in self._database.tasks(mention.fullname):  # of a try whose picture has changed since
            if old.job_id not in sent:
                self._eraser.drop(old)
        if sent:
            self._database.update(mention.fullname, State.QUEUED, self._clock(), shown_in=wanted.shown_in)
            log.info("queued mention=%s pictures=%d", mention.fullname, len(sent))
            return
        self._database.release(mention.fullname)
        self._say(case, replies.in_color(free[0].index, wanted.of), "in_color", State.REPLIED)

    # From queued to replied.

    def _finish(self, case: Case) -> None:
        """When all its pictures are colored, say so."""
        if case.asked is None or (isinstance(case.asked, Comment) and case.asked.removed):
            self._give_up(case.mention, "gone")
            return
        if reason := self._policy.withdrawn(case):
            self._give_up(case.mention, reason)
            return
        if case.post is None or case.post.removed:
            raise RefusedError(Reason.REMOVED if case.post else Reason.PRIVATE)
        try:
            done = self._coloring.done(case.mention.fullname)
        except NotFound:  # the service has lost its memory: once more from the beginning
            self._outbox.postpone(case.mention, State.SEEN)
            return
        if done is None:
            again = self._clock() + LOOK_AGAIN
            self._database.update(case.mention.fullname, State.QUEUED, self._clock(), due_at=again)
            return
        mention = replace(case.mention, state=State.COLORED)
        self._database.update(mention.fullname, State.COLORED, self._clock())
        pages = f"{self._settings.link_url}/photos"
        shown = [Colored(f"{pages}/{it.job_id}", it.image_url, it.position) for it, _ in done]
        task, job = done[0]
        text = replies.answer(
            shown,
            title=case.post.title,
            keep_for=job.expires_at.timestamp() - self._clock(),
            of=task.total,
            vividness=task.vividness,
        )
        self._say(replace(case, mention=mention), text, "colored", State.REPLIED)

    # Ends.

    def _say(self, case: Case, text: str, outcome: str, end: State) -> None:
        """Below the mention; where that is forbidden, it ends in another way."""
        mention = case.mention
        try:
            self._outbox.reply(mention, text, outcome, end)
        except Forbidden as error:
            if error.code in _FORBIDDEN:
                self._refuse(case, _FORBIDDEN[error.code], Facts())
            elif error.code.startswith("USER"):
                self._give_up(mention, error.code.lower())
            elif mention.attempts < 2:  # one refusal may be a mishap
                self._outbox.postpone(mention, mention.state)
            elif self._reddit.is_banned_from(mention.subreddit):
                self._database.opt_out("banned", mention.subreddit)
                self._refuse(case, Reason.BANNED, Facts())
            else:  # nor anywhere else, perhaps: that is no reason to avoid this subreddit for good
                self._give_up(mention, "forbidden")

    def _refuse(self, case: Case, reason: Reason, facts: Facts) -> None:
        """Say why not: in the thread, or in a message where the thread is no place for it."""
        mention = case.mention
        self._eraser.try_to_drop_pictures(mention.fullname)
        text = replies.refusal(reason, facts)
        if reason not in IN_PRIVATE:
            self._say(case, text, reason, State.REFUSED)
        elif case.asked is not None and case.asked.author:
            self._outbox.message(mention, case.asked.author, text, reason)
        else:
            self._give_up(mention, reason)

    def _give_up(self, mention: Mention, outcome: str) -> None:
        """Without a word."""
        self._eraser.try_to_drop_pictures(mention.fullname)
        self._database.update(mention.fullname, State.GIVEN_UP, self._clock(), outcome=outcome)
        log.info("given up mention=%s because=%s", mention.fullname, outcome)


def place(error: BaseException) -> str:
    """File and line where a fault was."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else "?"
