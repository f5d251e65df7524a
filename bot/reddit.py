"""Reddit, by PRAW 8: the one file that knows it. Plain values go in and out, and every failure is a RedditError."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import praw
from praw.exceptions import ClientException, PRAWException, RedditAPIException
from praw.models import Comment as PrawComment
from praw.models import Message as PrawMessage
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
from prawcore.exceptions import (
    Forbidden as ForbiddenAnswer,
)
from requests import Response
from requests.exceptions import RequestException as ConnectionFailure

from bot import __version__
from bot.documents import LONG_PAUSE, gallery, patience, preview
from bot.errors import Forbidden, Gone, RedditError, SignedOut, Throttled, Unavailable, Uncertain
from bot.models import Comment, Message, Post
from bot.settings import Settings

log = logging.getLogger("autochrome.bot")
AT_ONCE = 100
"""Entries of a list, and names in one question for things."""
MARKED_AT_ONCE = 25
MOST_PAGES = 10
"""Of a list: Reddit shows a thousand entries."""
_SIGNED_OUT = "Reddit does not accept the app or its account."
_GONE = {"DELETED_COMMENT", "DELETED_LINK", "NO_THING_ID", "THREAD_DELETED"}
_ODD = (PRAWException, PrawcoreException, LookupError, AttributeError, SyntaxError, TypeError, ValueError)
"""Half a document, in JSON or XML, or one of another shape than PRAW and we expect."""
_LOST = (408, 500, 502, 503, 504, 520, 521, 522, 523, 524)


class _Lost(Exception):  # noqa: N818  (a turn of events)
    """No answer. It is none of prawcore's exceptions, as those would make it ask again, also where it writes."""


class _Door(Requestor):
    """Lets each request wait for its turn."""

    def __init__(self, *, pace: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._pace = pace

    def request(self, method: str, url: str, timeout: float | None = None, **options: Any) -> Response:  # type: ignore[override]
        self._pace()
        try:
            # prawcore gives each request its own 16 s, whatever it was told.
            response = self._http.request(method, url, timeout=self.timeout, **options)
        except ConnectionFailure as error:
            raise _Lost(type(error).__name__) from error
        if response.status_code in _LOST:
            raise _Lost(str(response.status_code))
        return response


def user_agent(settings: Settings) -> str:
    """`<platform>:<app>:<version> (by /u/<name>)`, as Reddit asks of bots."""
    operator = settings.bot_operator or settings.reddit_username
    return f"linux:autochrome.colorizebot:{__version__} (by /u/{operator})"


class Reddit:
    """One account's Reddit. With `dry_run` nothing is written there."""

    def __init__(self, settings: Settings, pace: Callable[[], None], dry_run: bool = False) -> None:
        """`pace`: called before each request. Nothing is asked yet."""
        self.name = settings.reddit_username
        self._dry_run = dry_run
        options: dict[str, Any] = {
            "client_id": settings.reddit_client_id,
            "client_secret": settings.reddit_client_secret.get_secret_value(),
            "user_agent": user_agent(settings),
            "reddit_url": settings.reddit_url,
            "oauth_url": settings.reddit_oauth_url,
            "ratelimit_seconds": 0,  # the loop has other things to do meanwhile
            "check_for_updates": False,
            "requestor_class": _Door,
            "requestor_kwargs": {"pace": pace, "timeout": settings.bot_timeout},
        }
        if token := settings.reddit_refresh_token.get_secret_value():
            options["refresh_token"] = token
        else:
            options["username"] = settings.reddit_username
            options["password"] = settings.reddit_password.get_secret_value()
        self._praw = praw.Reddit(**options)

    # What is there.

    def me(self) -> str:
        """The account's name. Raises SignedOut where Reddit does not know it."""
        with _translated():
            user = self._praw.user.me(use_cache=False)
            if user is None:
                raise SignedOut("Reddit does not say who we are.")
            return str(user.name)

    def unread(self) -> list[Comment | Message]:
        """Unread entries of the inbox, the newest hundred."""
        with _translated():
            return [_entry(it) for it in self._praw.inbox.unread(limit=AT_ONCE)]

    def mentions(self) -> list[Comment]:
        """Comments that name the bot, read or not, the newest hundred."""
        with _translated():
            return [_comment(it) for it in self._praw.inbox.mentions(limit=AT_ONCE)]

    def comments(self, subreddits: Sequence[str], since: float) -> list[Comment]:
        """Comments there that are newer than a time, the newest thousand at most."""
        found: list[Comment] = []
        # Not asked for by `before`: that stays empty for good when that comment is deleted.
        with _translated():
            listing = self._praw.subreddit("+".join(subreddits)).comments(limit=AT_ONCE * MOST_PAGES)
            for it in listing:
                if it.created_utc < since:
                    break
                found.append(_comment(it))
        return found

    def info(self, fullnames: Iterable[str]) -> dict[str, Post | Comment]:
        """Posts and comments by their names; those that cannot be seen are left out."""
        with _translated():
            things = self._praw.info(fullnames=list(dict.fromkeys(fullnames)))
            return {it.fullname: _thing(it) for it in things if isinstance(it, PrawComment | Submission)}

    def replies_of_mine(self, fullname: str) -> list[Comment]:
        """The bot's own answers to a comment: in the thread, and where that is long, or gone, among its newest comments."""
        mine: list[Any] = []
        with suppress(Gone, Forbidden), _translated():
            comment = self._praw.comment(_id(fullname)).refresh()
            mine = [it for it in comment.replies.list() if isinstance(it, PrawComment) and self._is_mine(it)]
        with _translated():
            mine = mine or list(self._praw.redditor(self.name).comments.new(limit=AT_ONCE))
            return [_comment(it) for it in mine if it.parent_id == fullname]

    def _is_mine(self, it: Any) -> bool:
        return _author(it).lower() == self.name.lower()

    def is_banned_from(self, subreddit: str) -> bool:
        """Whether the subreddit has banned this account, or lets nobody in who is no member."""
        try:
            with _translated():
                return bool(self._praw.subreddit(subreddit).user_is_banned)
        except (Forbidden, Gone):
            return True

    def wiki(self, subreddit: str, page: str) -> str:
        """A page's text."""
        with _translated():
            return str(self._praw.subreddit(subreddit).wiki[page].content_md)

    # What is done.

    def reply(self, fullname: str, text: str) -> Comment | None:
        """Answer a comment, or a message: then there is no comment. Raises Uncertain where the answer is lost."""
        if self._dry_run:
            log.info("would reply to=%s\n%s", fullname, text)
            return None
        with _translated(writes=True):
            form = {"api_type": "json", "text": text, "thing_id": fullname}
            [made] = self._praw.post("api/comment/", data=form)
            return _comment(made) if isinstance(made, PrawComment) else None

    def message(self, to: str, subject: str, text: str) -> None:
        if self._dry_run:
            log.info("would tell to=%s\n%s", to, text)
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
        raise Throttled(_seconds(error.response)) from error
    except (OAuthException, InvalidToken, InsufficientScope) as error:
        raise SignedOut(_SIGNED_OUT) from error
    except ForbiddenAnswer as error:
        raise Forbidden(_reason(error.response)) from error
    except (NotFound, Redirect, UnavailableForLegalReasons) as error:
        raise Gone("Reddit has no such thing.") from error
    except (_Lost, RequestException, ServerError, BadJSON) as error:
        raise _unavailable(f"Reddit does not answer: {error}.", writes) from error
    except ResponseException as error:
        status = error.response.status_code
        if status == 401 or (status == 400 and error.response.url.endswith("/access_token")):
            raise SignedOut(_SIGNED_OUT) from error
        if status == 429:
            raise Throttled(_seconds(error.response)) from error
        raise _unavailable(f"Reddit answers {status}.", writes) from error
    except ClientException as error:
        raise Gone("Reddit does not show it.") from error  # PRAW's word for a comment that left its thread
    except _ODD as error:
        raise _unavailable(f"Reddit's answer makes no sense: {type(error).__name__}.", writes) from error


def _unavailable(message: str, writes: bool) -> Unavailable:
    return Uncertain(message) if writes else Unavailable(message)


def _refusal(error: RedditAPIException) -> RedditError:
    """What an error in a form's JSON means."""
    for item in error.items:
        if item.error_type == "RATELIMIT":
            return Throttled(patience(item.message or ""))
    code = error.items[0].error_type
    return Gone("It was deleted.") if code in _GONE else Forbidden(code)


def _seconds(response: Response) -> float:
    said = response.headers.get("retry-after") or response.headers.get("x-ratelimit-reset") or ""
    return float(said) if said.isascii() and said.isdecimal() else LONG_PAUSE


def _reason(response: Response) -> str:
    try:
        return str(response.json().get("reason") or "")
    except (ValueError, AttributeError):
        return ""


def _id(fullname: str) -> str:
    return fullname.partition("_")[2]


def _author(thing: Any) -> str:
    """The name; "" where the account or the thing is deleted."""
    author = vars(thing).get("author")
    return str(author) if author is not None else ""


def _thing(it: Any) -> Post | Comment:
    return _comment(it) if isinstance(it, PrawComment) else _post(it)


def _entry(it: Any) -> Comment | Message:
    if not isinstance(it, PrawMessage):
        return _comment(it)
    subreddit = vars(it).get("subreddit")
    return Message(
        fullname=it.fullname,
        author=_author(it) or None,
        subreddit=str(subreddit) if subreddit else "",
        body=it.body,
        created=it.created_utc,
    )


def _comment(it: Any) -> Comment:
    # In an inbox, comments have no link_id; there PRAW reads the post from the field `context`.
    data = vars(it)
    body = str(data["body"])
    return Comment(
        fullname=it.fullname,
        subreddit=str(it.subreddit),
        author=_author(it) or None,
        body=body,
        permalink=str(data.get("permalink") or data.get("context", "")),
        parent=it.parent_id,
        post=data.get("link_id") or f"t3_{it.submission.id}",
        score=data.get("score", 1),
        created=it.created_utc,
        removed=not _author(it) and body in ("[removed]", "[deleted]"),
        moderator=data.get("distinguished") == "moderator",
    )


def _post(it: Any) -> Post:
    data = vars(it)
    parents = data.get("crosspost_parent_list") or ()
    removed = data.get("removed_by_category") is not None or not _author(it)
    return Post(
        fullname=it.fullname,
        subreddit=str(it.subreddit),
        author=_author(it) or None,
        title=it.title,
        url=it.url,
        over_18=it.over_18,
        quarantined=data.get("quarantine", False),
        removed=removed,
        locked=data.get("locked", False),
        archived=data.get("archived", False),
        is_self=it.is_self,
        body=data.get("selftext", ""),
        gallery=gallery(data),
        crosspost_of=_post(Submission(it._reddit, _data=parents[0])) if parents else None,
        preview=preview(data),
    )
