"""The steps of a summons: seen → queued → colored → replied; or refused, given up, erased."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import httpx

from bot import wording
from bot.client import (
    Busy,
    Client,
    ClientError,
    NotAllowed,
    NotFound,
    Unavailable,
)
from bot.coloring import Coloring, RefusedError
from bot.deciding import Case, Color, Drop, Erase, Judge, Refuse, Say
from bot.download import (
    Unreachable,
)
from bot.erasing import Eraser
from bot.errors import Forbidden, RedditError, SignedOut, Throttled
from bot.errors import Unavailable as RedditUnavailable
from bot.ledger import Ledger, State, Summons
from bot.pictures import Picture
from bot.reddit import Reddit
from bot.settings import Settings
from bot.speaking import Speaker
from bot.things import Comment, Message, Post
from bot.wording import IN_PRIVATE, Colored, Facts, Reason

TRIES = 8
"""Failures of one summons that nobody knows the reason of, until it is given up."""
LOOK_AGAIN = 1.0
"""Seconds."""
_FORBIDDEN = {"THREAD_LOCKED": Reason.LOCKED, "TOO_OLD": Reason.ARCHIVED}
log = logging.getLogger("autochrome.bot")


class Answering:
    """Takes the next step of each summons that is due."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        reddit: Reddit,
        service: Client,
        web: httpx.Client,
        judge: Judge,
        clock: Callable[[], float],
    ) -> None:
        """`web`: for pictures."""
        self._settings = settings
        self._ledger = ledger
        self._reddit = reddit
        self._service = service
        self._web = web
        self._judge = judge
        self._clock = clock
        self._speaker = Speaker(ledger, reddit, clock, settings.bot_backoff)
        self._eraser = Eraser(ledger, reddit, service)
        self._coloring = Coloring(settings, ledger, service, web, clock)

    def advance(self, due: Sequence[Summons], heard: dict[str, Comment | Message]) -> None:
        """All of them: first each is begun, so that the service has many at once; then each is brought to its end.

        `heard`: what was last listened to, for what Reddit does not show by its name. Raises Throttled, SignedOut
        and Unavailable, the last with the summons put off that met it, as it may be that thread alone; whatever else
        goes wrong with one is noted with it.
        """
        cases = self._cases([it for it in due if it.state != State.QUEUED or self._has_moved(it)], heard)
        for case in cases:
            if case.summons.state in (State.SEEN, State.REPLYING):
                self._guarded(case, self._begin)
        for case in cases:
            now = self._ledger.summons(case.summons.fullname)
            if now and now.state in (State.QUEUED, State.COLORED) and now.next_at <= self._clock():
                self._guarded(replace(case, summons=now), self._finish)

    def _has_moved(self, summons: Summons) -> bool:
        """Whether there is something to do about it; a look at the service is cheaper than one at Reddit."""
        try:
            errands = self._ledger.errands(summons.fullname)
            if all(self._service.get(errand.job).is_over for errand in errands):
                return True
        except ClientError:
            return True
        again = self._clock() + LOOK_AGAIN
        self._ledger.move(summons.fullname, State.QUEUED, self._clock(), next_at=again)
        return False

    # What lies around.

    def _cases(self, due: Sequence[Summons], heard: dict[str, Comment | Message]) -> list[Case]:
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
            name: found for name, parent in parents.items() if (found := self._ledger.answered_by(parent))
        }
        know([*parents.values(), *(earlier.fullname for earlier in mine.values())])
        originals = {name: comment(earlier.fullname) for name, earlier in mine.items()}
        know(original.parent for original in originals.values() if original)
        cases = []
        for summons in due:
            post = things.get(summons.post)
            original = originals.get(summons.fullname)
            asked: Comment | Message | None = comment(summons.fullname)
            if asked is None and not isinstance(post, Post):
                asked = heard.get(summons.fullname)
            cases.append(
                Case(
                    summons,
                    asked,
                    comment(parents.get(summons.fullname, "")),
                    post if isinstance(post, Post) else None,
                    mine.get(summons.fullname),
                    original,
                    comment(original.parent) if original else None,
                )
            )
        return cases

    def _guarded(self, case: Case, step: Callable[[Case], None]) -> None:
        """A step of which no failure stops the others, but such as they all would meet."""
        name = case.summons.fullname
        try:
            step(case)
        except (Throttled, SignedOut):
            raise
        except RedditUnavailable:
            summons = self._ledger.summons(name) or case.summons
            self._speaker.postpone(summons, summons.state)
            raise
        except RefusedError as refused:
            self._refuse(case, refused.reason, refused.facts)
        except NotAllowed as error:  # that is ours to set right, and nothing for people to read
            log.error("the service refuses us, see AUTOCHROME_SERVICE_KEY: %s", error.detail)
            self._put_off(case, Reason.BUSY, tries=None)
        except (Busy, Unavailable, Unreachable) as error:
            log.warning("waiting summons=%s because=%s", name, type(error).__name__)
            self._put_off(case, Reason.BUSY, tries=None)
        except (ClientError, RedditError) as error:
            log.warning("failed summons=%s because=%s", name, type(error).__name__)
            self._put_off(case, Reason.FAILED, tries=TRIES)
        except Exception as error:  # a fault of ours: its words may hold what nobody may read in a log
            log.error("failed summons=%s fault=%s at=%s", name, type(error).__name__, place(error))
            self._put_off(case, Reason.FAILED, tries=TRIES)

    def _put_off(self, case: Case, reason: Reason, tries: int | None) -> None:
        """Again later, or never: after so many tries, and when it is too old."""
        summons = self._ledger.summons(case.summons.fullname) or case.summons
        is_old = self._clock() > summons.seen_at + self._settings.bot_patience
        if not is_old and (tries is None or summons.tries < tries):
            self._speaker.postpone(summons, summons.state)
        elif summons.outcome == f"giving_up:{reason}":  # not even that could be said
            self._give_up(summons, reason)
        else:
            self._ledger.move(summons.fullname, summons.state, self._clock(), outcome=f"giving_up:{reason}")
            self._guarded(replace(case, summons=summons), lambda it: self._refuse(it, reason, Facts()))

    # From seen to queued.

    def _begin(self, case: Case) -> None:
        summons = case.summons
        if summons.state == State.REPLYING:
            self._speaker.look(summons)
            return
        decision = self._judge.decide(case)
        match decision:
            case Drop(outcome):
                self._give_up(summons, outcome)
            case Refuse(reason, facts):
                self._refuse(case, reason, facts)
            case Say(text, outcome):
                self._say(case, text, outcome, State.REPLIED)
            case Erase(target):
                self._eraser.erase(target)
                self._ledger.erase([summons.fullname])
            case Color():
                self._color(case, decision)

    def _color(self, case: Case, wanted: Color) -> None:
        """Send the pictures to the service, unless somebody was faster in this thread."""
        summons = case.summons
        free: list[Picture] = []
        for picture in wanted.chosen:
            owner = self._ledger.claim(summons.post, picture.url, wanted.order.vividness, summons.fullname)
            if owner == summons.fullname:
                free.append(picture)
                continue
            earlier = self._ledger.summons(owner)
            if earlier is None or earlier.state != State.REPLIED:
                self._ledger.release(summons.fullname)
                again = self._clock() + LOOK_AGAIN
                self._ledger.move(summons.fullname, State.SEEN, self._clock(), next_at=again)
                return
            if len(wanted.chosen) == 1 or (not free and picture is wanted.chosen[-1]):
                self._ledger.move(summons.fullname, State.SEEN, self._clock(), same_as=earlier.fullname)
                self._say(case, wording.again(earlier.link), "again", State.REPLIED)
                return
        sent = self._coloring.send(summons, wanted, free)
        for old in self._ledger.errands(summons.fullname):  # of a try whose picture has changed since
            if old.job not in sent:
                self._eraser.drop(old)
        if sent:
            self._ledger.move(summons.fullname, State.QUEUED, self._clock(), source=wanted.source)
            log.info("queued summons=%s pictures=%d", summons.fullname, len(sent))
            return
        self._ledger.release(summons.fullname)
        self._say(case, wording.in_color(free[0].index, wanted.of), "in_color", State.REPLIED)

    # From queued to replied.

    def _finish(self, case: Case) -> None:
        """When all its pictures are colored, say so."""
        if case.asked is None or (isinstance(case.asked, Comment) and case.asked.removed):
            self._give_up(case.summons, "gone")
            return
        if reason := self._judge.withdrawn(case):
            self._give_up(case.summons, reason)
            return
        if case.post is None or case.post.removed:
            raise RefusedError(Reason.REMOVED if case.post else Reason.PRIVATE)
        try:
            done = self._coloring.done(case.summons.fullname)
        except NotFound:  # the service has lost its memory: once more from the beginning
            self._speaker.postpone(case.summons, State.SEEN)
            return
        if done is None:
            again = self._clock() + LOOK_AGAIN
            self._ledger.move(case.summons.fullname, State.QUEUED, self._clock(), next_at=again)
            return
        summons = replace(case.summons, state=State.COLORED)
        self._ledger.move(summons.fullname, State.COLORED, self._clock())
        pages = f"{self._settings.link_url}/photos"
        shown = [Colored(f"{pages}/{it.job}", it.picture, it.position) for it, _ in done]
        errand, job = done[0]
        text = wording.answer(
            shown,
            title=case.post.title,
            keep_for=job.expires_at.timestamp() - self._clock(),
            of=errand.pictures,
            vividness=errand.vividness,
        )
        self._say(replace(case, summons=summons), text, "colored", State.REPLIED)

    # Ends.

    def _say(self, case: Case, text: str, outcome: str, end: State) -> None:
        """Below the summons; where that is forbidden, it ends in another way."""
        summons = case.summons
        try:
            self._speaker.answer(summons, text, outcome, end)
        except Forbidden as error:
            if error.code in _FORBIDDEN:
                self._refuse(case, _FORBIDDEN[error.code], Facts())
            elif error.code.startswith("USER"):
                self._give_up(summons, error.code.lower())
            elif summons.tries < 2:  # one refusal may be a mishap
                self._speaker.postpone(summons, summons.state)
            elif self._reddit.is_banned_from(summons.subreddit):
                self._ledger.stay_away("banned", summons.subreddit)
                self._refuse(case, Reason.BANNED, Facts())
            else:  # nor anywhere else, perhaps: that is no reason to avoid this subreddit for good
                self._give_up(summons, "forbidden")

    def _refuse(self, case: Case, reason: Reason, facts: Facts) -> None:
        """Say why not: in the thread, or in a message where the thread is no place for it."""
        summons = case.summons
        self._eraser.try_to_drop_pictures(summons.fullname)
        text = wording.refusal(reason, facts)
        if reason not in IN_PRIVATE:
            self._say(case, text, reason, State.REFUSED)
        elif case.asked is not None and case.asked.author:
            self._speaker.tell(summons, case.asked.author, text, reason)
        else:
            self._give_up(summons, reason)

    def _give_up(self, summons: Summons, outcome: str) -> None:
        """Without a word."""
        self._eraser.try_to_drop_pictures(summons.fullname)
        self._ledger.move(summons.fullname, State.GIVEN_UP, self._clock(), outcome=outcome)
        log.info("given up summons=%s because=%s", summons.fullname, outcome)


def place(error: BaseException) -> str:
    """File and line where a fault was."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else "?"
