"""Reddit, by PRAW 8. Plain values go in and out, and every failure is a RedditError; `bot.things` reads what it shows."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import urlsplit

import praw
from praw.exceptions import ClientException, PRAWException, RedditAPIException
from praw.models import Comment as PrawComment
from praw.models import Submission
from prawcore import Requestor
from prawcore.exceptions import (
    BadJSON,
    InsufficientScope,
    InvalidToken,
    NotFound,
    OAuthException,
    PrawcoreException,
    Redirect,
    RequestException,
    ResponseException,
    ServerError,
    TooManyRequests,
    UnavailableForLegalReasons,
)
from prawcore.exceptions import Forbidden as ForbiddenAnswer
from requests import Response
from requests.exceptions import RequestException as ConnectionFailure

from bot import __version__
from bot.models import Comment, Message, Post
from bot.settings import Settings
from bot.things import author_of, name_of, read_comment, read_entry, read_thing

PAGE_SIZE = 100
"""Entries of a list, and names in one request for posts and comments."""
MAX_PAGES = 10
"""Of a list: Reddit shows a thousand entries."""
MARK_READ_SIZE = 25
OTHERS_DELAY = 600.0
"""Seconds at least until Reddit is looked at again without signing in, after it has asked to wait."""
DEFAULT_DELAY = 60.0
"""Seconds, where Reddit says that it is asked too often and not when to come again."""
_NOT_SIGNED_IN = "Reddit does not accept the app or its account."
_DELETED = {"DELETED_COMMENT", "DELETED_LINK", "NO_THING_ID", "THREAD_DELETED"}
_MALFORMED = (
    PRAWException,
    PrawcoreException,
    LookupError,
    AttributeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""Half a document, in JSON or XML, or one of another shape than PRAW and we expect."""
_UNREADABLE = (ClientException, NotFound, LookupError, AttributeError, TypeError, ValueError)
"""One entry of a list is so; the others may be sound."""
_NO_ANSWER = (408, 500, 502, 503, 504, 520, 521, 522, 523, 524)
_STORE = re.compile(
    r"reddit-uploaded-[a-z-]+\.s3(?:-accelerate|[.-][a-z0-9-]+)?\.amazonaws\.com|(?:[a-z0-9-]+\.)+(?:redd\.it|reddit\.com|redditmedia\.com)"
)
"""Hosts that take uploads: Reddit's buckets, whose names begin so, and its own."""
_Read = TypeVar("_Read", bound="Comment | Message")
log = logging.getLogger("autochrome.bot")


class RedditError(Exception):
    """Reddit did not do what it was asked for; the message is a whole sentence."""


class ThrottledError(RedditError):
    """Nothing was done. `seconds`: when to ask again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Reddit asks to wait {seconds:.0f} s.")
        self.seconds = seconds


class HeldError(ThrottledError):
    """Reddit takes no comment, or no message, until so many seconds have passed; everything else may go on.

    `reason`: `rate_limit`, `suspended`, `shadow_banned` or `domain_banned`, as health and metrics say it.
    """

    def __init__(self, seconds: float, reason: str = "rate_limit") -> None:
        super().__init__(seconds)
        self.reason = reason


class OthersThrottledError(RedditError):
    """Reddit lets nobody look who is not signed in; everything else may go on. `seconds`: when to look again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Reddit asks who is not signed in to wait {seconds:.0f} s.")
        self.seconds = seconds


class StoppedError(ThrottledError):
    """Reddit was not asked, as the bot is to end."""

    def __init__(self) -> None:
        super().__init__(0)


class ForbiddenError(RedditError):
    """Nothing was done. `code`: Reddit's own, such as THREAD_LOCKED, or ""."""

    def __init__(self, code: str = "") -> None:
        super().__init__(f"Reddit forbids it ({code})." if code else "Reddit forbids it.")
        self.code = code


class DeletedError(RedditError):
    """What was asked for or answered was deleted, or never was."""


class SignInError(RedditError):
    """Reddit refuses the app's or the account's credentials."""


class NoAnswerError(RedditError):
    """Reddit does not answer, or not as it should; it may later."""


class UncertainError(NoAnswerError):
    """The answer to a call that writes was lost: it is unknown whether it was done."""


class RateLimiter:
    """Called before each request, and waits so that no minute has too many."""

    WINDOW = 60.0
    CALM = 600.0
    """Seconds without a wait."""

    def __init__(
        self, per_minute: int, wait: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`wait`: sleep so many seconds; whether the bot is to stop."""
        self.requests = 0
        """So many were let through."""
        self._wait = wait
        self._clock = clock
        self._times: deque[float] = deque(maxlen=per_minute)
        self._delayed_at = float("-inf")

    def __call__(self) -> None:
        """Wait for a turn. Raises StoppedError where the bot is to end."""
        is_full = len(self._times) == self._times.maxlen
        delay = self._times[0] + self.WINDOW - self._clock() if is_full else 0.0
        if delay > 0:
            self._delayed_at = self._clock() + delay
        if self._wait(max(delay, 0.0)):
            raise StoppedError
        self._times.append(self._clock())
        self.requests += 1

    def is_calm(self) -> bool:
        """Whether nobody had to wait lately, and less than half of what a minute may have was asked in the last one."""
        now = self._clock()
        if now < self._delayed_at + self.CALM:
            return False
        return 2 * sum(at > now - self.WINDOW for at in self._times) < (self._times.maxlen or 0)


@dataclass(frozen=True, slots=True)
class Lease:
    """Where a picture may be sent to, once."""

    url: str
    fields: Mapping[str, str]
    """Of the form, before the file."""
    media: str
    """The picture's id, when it is there."""


class _LostError(Exception):
    """No answer. It is none of prawcore's exceptions, as those would make it ask again, also where it writes."""


class _RateLimitedRequestor(Requestor):
    """Lets each request wait for its turn."""

    def __init__(self, *, rate_limit: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._rate_limit = rate_limit

    def request(self, method: str, url: str, timeout: float | None = None, **options: Any) -> Response:  # type: ignore[override]
        self._rate_limit()
        try:
            # prawcore gives each request its own 16 s, whatever it was told.
            response = self._http.request(method, url, timeout=self.timeout, **options)
        except ConnectionFailure as error:
            raise _LostError(type(error).__name__) from error
        if response.status_code in _NO_ANSWER:
            raise _LostError(str(response.status_code))
        return response


def user_agent(settings: Settings) -> str:
    """`<platform>:<app>:<version> (by /u/<name>)`, as Reddit asks of bots."""
    operator = settings.bot_operator or settings.reddit_username
    return f"linux:autochrome.colorizebot:{__version__} (by /u/{operator})"


class Reddit:
    """One account's Reddit. With `dry_run` nothing is written there."""

    def __init__(
        self,
        settings: Settings,
        rate_limit: Callable[[], None],
        dry_run: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`rate_limit`: called before each request. Nothing is asked yet."""
        self.name = settings.reddit_username
        self._host = urlsplit(settings.reddit_url).hostname
        self._dry_run = dry_run
        options: dict[str, Any] = {
            "client_id": settings.reddit_client_id,
            "client_secret": settings.reddit_client_secret.get_secret_value(),
            "user_agent": user_agent(settings),
            "reddit_url": settings.reddit_url,
            "oauth_url": settings.reddit_oauth_url,
            "ratelimit_seconds": 0,  # the loop has other things to do meanwhile
            "check_for_updates": False,
            "requestor_class": _RateLimitedRequestor,
            "requestor_kwargs": {"rate_limit": rate_limit, "timeout": settings.bot_timeout},
        }
        self._others = praw.Reddit(**options)
        """What one sees who is not signed in."""
        self._others_at = 0.0
        """Not asked before."""
        self._clock = clock
        if token := settings.reddit_refresh_token.get_secret_value():
            options["refresh_token"] = token
        else:
            options["username"] = settings.reddit_username
            options["password"] = settings.reddit_password.get_secret_value()
        self._praw = praw.Reddit(**options)

    # Reading.

    def me(self) -> str:
        """The account's name. Raises SignInError where Reddit does not know it."""
        with _translated():
            user = self._praw.user.me(use_cache=False)
            if user is None:
                raise SignInError("Reddit does not say who we are.")
            return str(user.name)

    def is_suspended(self) -> bool:
        """Whether Reddit has suspended the account."""
        with _translated():
            return bool(getattr(self._praw.user.me(use_cache=False), "is_suspended", False))

    def unread(self) -> tuple[list[Comment | Message], list[str]]:
        """Unread entries of the inbox, the newest hundred; and the names of those that are of no kind or shape that we know."""
        entries: list[Comment | Message] = []
        unreadable: list[str] = []
        with _translated():
            for it in self._praw.inbox.unread(limit=PAGE_SIZE):
                if entry := _readable(read_entry, it):
                    entries.append(entry)
                elif name := name_of(it):
                    unreadable.append(name)
        return entries, unreadable

    def mentions(self) -> list[Comment]:
        """Comments that name the bot, read or not, the newest hundred, without those that cannot be read."""
        with _translated():
            listed = (_readable(read_comment, it) for it in self._praw.inbox.mentions(limit=PAGE_SIZE))
            return [comment for comment in listed if comment]

    def comments(self, subreddits: Sequence[str], since: float) -> list[Comment]:
        """Comments there that are newer than a time, the newest thousand at most, without those that cannot be read."""
        found: list[Comment] = []
        # Not asked for by `before`: that stays empty for good when that comment is deleted.
        with _translated():
            listing = self._praw.subreddit("+".join(subreddits)).comments(limit=PAGE_SIZE * MAX_PAGES)
            for it in listing:
                if it.created_utc < since:
                    break
                if comment := _readable(read_comment, it):
                    found.append(comment)
        return found

    def info(self, fullnames: Iterable[str]) -> dict[str, Post | Comment]:
        """Posts and comments by their names; those that cannot be seen are left out."""
        with _translated():
            things = self._praw.info(fullnames=list(dict.fromkeys(fullnames)))
            return {it.fullname: read_thing(it) for it in things if isinstance(it, PrawComment | Submission)}

    def seen_by_others(self, fullnames: Iterable[str]) -> dict[str, Comment]:
        """Comments as they are shown to who is not signed in: to us our own look well also when nobody else sees them.

        Raises OthersThrottledError.
        """
        with self._as_others():
            things = self._others.info(fullnames=list(dict.fromkeys(fullnames)))
            return {it.fullname: read_comment(it) for it in things if isinstance(it, PrawComment)}

    def is_shadow_banned(self) -> bool:
        """Whether to others this account is not there. Raises OthersThrottledError."""
        try:
            with self._as_others():
                return not self._others.redditor(self.name).fullname
        except DeletedError:
            return True

    @contextmanager
    def _as_others(self) -> Iterator[None]:
        """As _translated, but that Reddit asks to wait stops only what needs no account. It is not asked before that is over."""
        wait = self._others_at - self._clock()
        if wait > 0:
            raise OthersThrottledError(wait)
        try:
            with _translated():
                yield
        except StoppedError:
            raise
        except ThrottledError as error:
            wait = max(error.seconds, OTHERS_DELAY)
            self._others_at = self._clock() + wait
            raise OthersThrottledError(wait) from error

    def allows_pictures(self, subreddit: str) -> bool:
        """Whether comments there may show uploaded pictures."""
        with _translated():
            kinds = getattr(self._praw.subreddit(subreddit), "allowed_media_in_comments", None)
            return "static" in (kinds or ())

    def resolve(self, link: str) -> str:
        """Where a share link leads; "" where nowhere."""
        with suppress(DeletedError, ForbiddenError), _translated():
            try:
                self._praw.get(urlsplit(link).path)
            except Redirect as moved:
                return str(moved.response.headers.get("location", ""))
        return ""

    def replies_of_mine(self, fullname: str) -> list[Comment]:
        """The bot's own answers to a comment: in the thread, and where that is long, or gone, among its newest comments."""
        mine: list[Any] = []
        with suppress(DeletedError, ForbiddenError), _translated():
            comment = self._praw.comment(_id(fullname)).refresh()
            mine = [it for it in comment.replies.list() if isinstance(it, PrawComment) and self._is_mine(it)]
        with _translated():
            mine = mine or list(self._praw.redditor(self.name).comments.new(limit=PAGE_SIZE))
            return [read_comment(it) for it in mine if it.parent_id == fullname]

    def _is_mine(self, it: Any) -> bool:
        return author_of(it).lower() == self.name.lower()

    def is_banned_from(self, subreddit: str) -> bool:
        """Whether the subreddit has banned this account, or lets nobody in who is no member."""
        try:
            with _translated():
                return bool(self._praw.subreddit(subreddit).user_is_banned)
        except (ForbiddenError, DeletedError):
            return True

    def wiki(self, subreddit: str, page: str) -> str:
        """A page's text."""
        with _translated():
            return str(self._praw.subreddit(subreddit).wiki[page].content_md)

    # Writing.

    def reply(self, fullname: str, text: str, rich_text: str = "") -> Comment | None:
        """Answer a comment, or a message: then there is no comment. Raises UncertainError where the answer is lost.

        `rich_text`: instead of the text, a document of `bot.richtext`.
        """
        if self._dry_run:
            log.info("reply_dry_run to=%s\n%s", fullname, text)
            return None
        with _translated(writes=True):
            words = {"richtext_json": rich_text} if rich_text else {"text": text}
            form = {"api_type": "json", "thing_id": fullname, **words}
            [made] = self._praw.post("api/comment/", data=form)
            return read_comment(made) if isinstance(made, PrawComment) else None

    def edit(self, fullname: str, text: str) -> None:
        """Say something else in a comment of the bot's own."""
        if self._dry_run:
            return
        with _translated(writes=True):
            form = {"api_type": "json", "text": text, "thing_id": fullname}
            self._praw.post("api/editusertext/", data=form)

    def lease(self, filename: str, media_type: str) -> Lease:
        """Leave to upload a picture."""
        with _translated():
            form = {"filepath": filename, "mimetype": media_type}
            answer = self._praw.post("api/media/asset.json", data=form)
            upload = answer["args"]
            url = f"https:{upload['action']}"
            if not self._is_store(url):
                raise NoAnswerError("Reddit names a store for uploads that is none of its own.")
            fields = {it["name"]: it["value"] for it in upload["fields"]}
            return Lease(url, fields, str(answer["asset"]["asset_id"]))

    def _is_store(self, url: str) -> bool:
        """Whether pictures may be sent there: to Reddit's store, or to the host that stands for Reddit."""
        parts = urlsplit(url)
        if parts.username is not None or not parts.hostname:
            return False
        is_reddits = parts.port in (None, 443) and _STORE.fullmatch(parts.hostname)
        return bool(is_reddits) or parts.hostname == self._host

    def message(self, to: str, subject: str, text: str) -> None:
        if self._dry_run:
            log.info("message_dry_run to=%s\n%s", to, text)
            return
        with _translated(writes=True):
            self._praw.redditor(to).message(subject=subject, message=text)

    def delete(self, fullname: str) -> None:
        """A comment or post of the bot's own; done, too, where it is not there."""
        if self._dry_run:
            return
        with _translated(writes=True):
            self._praw.post("api/del/", data={"id": fullname})

    def mark_read(self, fullnames: Sequence[str]) -> None:
        """25 at most."""
        if self._dry_run:
            return
        with _translated(writes=True):
            self._praw.post("api/read_message/", data={"id": ",".join(fullnames)})


def _readable(read: Callable[[Any], _Read], it: Any) -> _Read | None:
    """An entry of a list; None, with a line in the log, for one of no kind or shape that we know."""
    try:
        return read(it)
    except _UNREADABLE as error:
        log.warning("entry_unreadable entry=%s error=%s", name_of(it) or "?", type(error).__name__)
        return None


@contextmanager
def _translated(writes: bool = False) -> Iterator[None]:
    """Whatever goes wrong inside is a RedditError. `writes`: something may have been done."""
    try:
        yield
    except RedditError:
        raise
    except RedditAPIException as error:
        raise _refusal(error) from error
    except TooManyRequests as error:
        raise ThrottledError(_seconds(error.response)) from error
    except (OAuthException, InvalidToken, InsufficientScope) as error:
        raise SignInError(_NOT_SIGNED_IN) from error
    except ForbiddenAnswer as error:
        raise ForbiddenError(_reason(error.response)) from error
    except (NotFound, Redirect, UnavailableForLegalReasons) as error:
        raise DeletedError("Reddit has no such thing.") from error
    except (_LostError, RequestException, ServerError, BadJSON) as error:
        raise _no_answer(f"Reddit does not answer: {error}.", writes) from error
    except ResponseException as error:
        status = error.response.status_code
        if status == 401 or (status == 400 and error.response.url.endswith("/access_token")):
            raise SignInError(_NOT_SIGNED_IN) from error
        if status == 429:
            raise ThrottledError(_seconds(error.response)) from error
        raise _no_answer(f"Reddit answers {status}.", writes) from error
    except ClientException as error:
        raise DeletedError(
            "Reddit does not show it."
        ) from error  # PRAW's word for a comment that left its thread
    except _MALFORMED as error:
        raise _no_answer(f"Reddit's answer makes no sense: {type(error).__name__}.", writes) from error


def _no_answer(message: str, writes: bool) -> NoAnswerError:
    return UncertainError(message) if writes else NoAnswerError(message)


def _refusal(error: RedditAPIException) -> RedditError:
    """What an error in a form's JSON means."""
    for item in error.items:
        if item.error_type == "RATELIMIT":
            return HeldError(_delay_in(item.message or ""))
    code = error.items[0].error_type
    return DeletedError("It was deleted.") if code in _DELETED else ForbiddenError(code)


def _seconds(response: Response) -> float:
    said = response.headers.get("retry-after") or response.headers.get("x-ratelimit-reset") or ""
    return float(said) if said.isascii() and said.isdecimal() else DEFAULT_DELAY


def _reason(response: Response) -> str:
    try:
        return str(response.json().get("reason") or "")
    except (ValueError, AttributeError):
        return ""


def _id(fullname: str) -> str:
    return fullname.partition("_")[2]


def _delay_in(message: str) -> float:
    """Seconds in “try again in 7 minutes”."""
    units = {"hour": 3600.0, "minute": 60.0, "millisecond": 0.001, "second": 1.0}
    words = message.lower().split()
    for number, unit in pairwise(words):
        size = next((size for name, size in units.items() if unit.startswith(name)), None)
        if size is not None and number.isdecimal():
            return int(number) * size + 1
    return DEFAULT_DELAY
