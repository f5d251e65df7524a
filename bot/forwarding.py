"""What is meant for the person behind the bot: messages, complaints and notices, which no bot should settle."""

from __future__ import annotations

import logging
import re
from typing import Literal, TypeAlias

import httpx

from bot.models import Comment, Message

Topic: TypeAlias = Literal["copyright", "ban", "complaint", "modmail", "message", ""]
TIMEOUT = 10.0
"""Seconds for the operator's webhook."""
_COPYRIGHT = re.compile(r"\bdmca\b|copyright|take-?down notice|infring", re.IGNORECASE)
_BAN = re.compile(r"\bbanned from\b|\bsuspended\b|\bmuted from\b", re.IGNORECASE)
_COMPLAINT = re.compile(
    r"complain|\blawyer|legal action|without (?:my|our|his|her|their) (?:permission|consent)|\bharass|\bgdpr\b"
    r"|\breport(?:ed|ing)? (?:you|this bot)\b",
    re.IGNORECASE,
)
_NOTICES = {"reddit", "automoderator"}
"""Accounts that read no answer."""
log = logging.getLogger("autochrome.bot")


class ForwardingError(Exception):
    """The operator's webhook did not take it."""


def topic_of(written: Comment | Message) -> Topic:
    """What a person should read it for; "" where nobody has to. Of comments only what complains."""
    text = f"{written.subject}\n{written.body}" if isinstance(written, Message) else written.body
    if _COPYRIGHT.search(text):
        return "copyright"
    if isinstance(written, Message) and not is_from_person(written) and _BAN.search(text):
        return "ban"
    if _COMPLAINT.search(text):
        return "complaint"
    if isinstance(written, Comment):
        return ""
    return "modmail" if written.subreddit else "message"


def is_from_person(message: Message) -> bool:
    """Whether one account wrote it that is no tool of Reddit's; moderators write as their subreddit."""
    if message.author is None or message.subreddit or message.automated:
        return False
    return message.author.lower() not in _NOTICES


def forward(written: Comment | Message, topic: Topic, webhook: str) -> None:
    """To the log without its words, and to the webhook, if there is one, with them. Raises ForwardingError."""
    link = _link(written)
    if webhook:
        document = {
            "topic": topic,
            "author": written.author or "",
            "subreddit": written.subreddit,
            "subject": written.subject if isinstance(written, Message) else "",
            "body": written.body,
            "link": link,
        }
        try:
            httpx.post(webhook, json=document, timeout=TIMEOUT).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ForwardingError(type(error).__name__) from error
    log.warning("for_operator entry=%s topic=%s forwarded=%s", written.fullname, topic, bool(webhook))


def _link(written: Comment | Message) -> str:
    path = (
        written.permalink
        if isinstance(written, Comment)
        else f"/message/messages/{written.fullname.removeprefix('t4_')}"
    )
    return f"https://www.reddit.com{path}"
