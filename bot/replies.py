"""Every sentence that people on Reddit read from the bot: Markdown, short and kind, one line or two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

MAX_TITLE = 90
"""Characters of a title that is repeated."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~^&@-])")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION = re.compile(r"\b([ur])/(?=\w)", re.IGNORECASE)
Kind: TypeAlias = Literal["picture", "comment", "farewell", "message"]
"""Of a reply: with a picture, without one, to who has opted out, or in private."""
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


class Reason(StrEnum):
    """Why a mention is not answered with a picture."""

    ALBUM = "album"
    ARCHIVED = "archived"
    BANNED = "banned"
    BUSY = "busy"
    DAMAGED = "damaged"
    DENIED = "denied"
    FAILED = "failed"
    GONE = "gone"
    HOST = "host"
    LIMIT_SUBREDDIT = "limit_subreddit"
    LIMIT_THREAD = "limit_thread"
    LIMIT_USER = "limit_user"
    LOCKED = "locked"
    VIDEO = "video"
    NO_IMAGE = "no_image"
    NO_STILL = "no_still"
    NO_SUCH_NUMBER = "no_such_number"
    NOT_AN_IMAGE = "not_an_image"
    NOT_DELETED = "not_deleted"
    NOT_YOURS = "not_yours"
    OPTED_OUT = "opted_out"
    OVER_18 = "over_18"
    PRIVATE = "private"
    QUARANTINED = "quarantined"
    REMOVED = "removed"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"


@dataclass(frozen=True, slots=True)
class Details:
    """What some refusals name."""

    host: str = ""
    """Where the picture lies."""
    count: int = 0
    """How many pictures there are."""
    megabytes: int = 0
    """The most that a picture may have; 0: not said."""
    wait: float = 0
    """Seconds until it may be asked again; 0: not said."""


NO_DETAILS = Details()


@dataclass(frozen=True, slots=True)
class About:
    """What stands below every reply."""

    contact: str
    """Address where a person is written to."""
    code: str = ""
    """Address of the source code; "": not said."""


@dataclass(frozen=True, slots=True)
class ColoredImage:
    """One picture that was colored."""

    link: str
    """Its page."""
    source: str
    """The address that it was taken from."""
    index: int = 1
    """Which of several."""
    from_preview: bool = False
    """Whether Reddit's smaller copy was taken."""
    posted: str = ""
    """The address of the post that first showed it, where that is another than the thread's."""


IN_PRIVATE = frozenset(
    {
        Reason.ARCHIVED,
        Reason.BANNED,
        Reason.DENIED,
        Reason.LOCKED,
        Reason.PRIVATE,
        Reason.QUARANTINED,
        Reason.REMOVED,
    }
)
"""Where no comment can or should be left: these go as a message to whoever called, or not at all."""

_REFUSALS = {
    Reason.ALBUM: "I cannot look into that album. Link to the one picture itself (on Imgur: right-click it, “copy image "
    "address”) and call me again.",
    Reason.ARCHIVED: "That thread is archived, so I cannot answer there. Post the photograph anew and call me again.",
    Reason.BANNED: "I am not welcome in that community, so I cannot answer there. You are free to post the photograph "
    "elsewhere and call me again.",
    Reason.BUSY: "I could not get it colored: the service behind me is not well today. Sorry! Please call me again "
    "later.",
    Reason.DAMAGED: "I cannot open that picture: its file is cut off or broken. Could you upload it once more?",
    Reason.DENIED: "I stay out of this community, as bots are asked to. Please call me somewhere else.",
    Reason.FAILED: "I tried to color this one and failed, and that was not your fault. Sorry! A smaller copy may work.",
    Reason.GONE: "The picture is not there any more, so I have nothing to color.",
    Reason.HOST: "I do not take pictures from {host}. Upload it here on Reddit and call me again.",
    Reason.LIMIT_SUBREDDIT: "I have answered so often in this community that I am taking a break, so as not to be a "
    "nuisance.{wait}",
    Reason.LIMIT_THREAD: "I have answered often enough in this thread and leave it to people now.",
    Reason.LIMIT_USER: "You have called me so often that others must have their turn first.{wait}",
    Reason.LOCKED: "That thread is locked, so I cannot answer there.",
    Reason.VIDEO: "That is a video or an animation, and I only know how to color still pictures. Post one frame of it "
    "and call me again.",
    Reason.NO_IMAGE: "I see no picture here: not in your comment, not in the one above it, not in the post. Link to "
    "one, or call me below one.",
    Reason.NO_STILL: "That one moves or did not make it to Reddit, and I only know how to color still pictures. Call me with "
    "another number, or with `all`.",
    Reason.NO_SUCH_NUMBER: "I see {count} here, and not the one that you ask for. Call me with a number that there is, "
    "or with `all`.",
    Reason.NOT_AN_IMAGE: "What I found there is not a picture that I can read. A JPEG, PNG or WebP will do.",
    Reason.NOT_DELETED: "I could not take that back: Reddit, or the service behind me, did not let me. Sorry! Please ask once "
    "more, or write to whoever runs me.",
    Reason.NOT_YOURS: "Only who called me, who posted the photograph, or a moderator can ask for that.",
    Reason.OPTED_OUT: "Whoever posted this asked me to leave their pictures alone, and so I do.",
    Reason.OVER_18: "I do not color what is marked as NSFW.",
    Reason.PRIVATE: "I cannot see that community, so I cannot answer there.",
    Reason.QUARANTINED: "That community is quarantined, and I do not answer there.",
    Reason.REMOVED: "That post has been removed, so I left its picture alone.",
    Reason.TOO_LARGE: "That picture is too large for me{megabytes}. Post a smaller copy and call me again.",
    Reason.TOO_SMALL: "That picture is too small or too narrow for me to see anything in it. Is there a larger one?",
}

_MANNERS: dict[Kind, str] = {
    "picture": "Reply `delete` to remove this, `vivid` or `muted` for other colors, `opt out` to be left alone. ",
    "comment": "Reply `delete` to remove this, `opt out` to be left alone. ",
    "farewell": "Reply `delete` to remove this. ",
    "message": "Reply `opt out` to be left alone. ",
}
_OF_CODES = {
    "body_too_large": Reason.TOO_LARGE,
    "photo_animated": Reason.VIDEO,
    "photo_damaged": Reason.DAMAGED,
    "photo_empty": Reason.DAMAGED,
    "photo_too_large": Reason.TOO_LARGE,
    "photo_too_small": Reason.TOO_SMALL,
    "photo_unsupported": Reason.NOT_AN_IMAGE,
}


def reason_of(code: str) -> Reason:
    """What a code of the service's refusals means to people."""
    return _OF_CODES.get(code, Reason.FAILED)


def colored(
    pictures: Sequence[ColoredImage], *, keep_for: float, total: int = 1, vividness: float = 1.0
) -> str:
    """The comment under a mention. `keep_for`: seconds; `total`: pictures that there are."""
    how = {1.0: ""}.get(vividness, " More vivid than I would." if vividness > 1 else " Calmer than I would.")
    kept = f"kept for {duration(keep_for)}"
    if len(pictures) == 1:
        head = f"**[Here it is in color]({_target(pictures[0].link)})**, {kept}"
    else:
        links = (f"[{shown.index}]({_target(shown.link)})" for shown in pictures)
        head = f"**Here they are in color**, {kept}: {', '.join(links)}"
    sources = ", ".join(_source(shown, pictures) for shown in pictures)
    text = f"{head}. The colors are a machine’s guess; made from {sources}.{how}"
    if len(pictures) == 1 and total > 1:
        text += f" It is number {pictures[0].index} of {total}: reply with another number or `all` for more."
    if any(shown.from_preview for shown in pictures):
        them = "The original is" if len(pictures) == 1 else "Some originals are"
        text += f" {them} too large for me, so I took Reddit’s smaller preview."
    return text


def already_colored(permalink: str) -> str:
    """To a later mention for the same picture in the same thread."""
    return f"I have colored this one already, [here in this thread]({_target(permalink)})."


def already_in_color(index: int = 1, total: int = 1) -> str:
    """The picture is in color."""
    which = f"Picture {index} of {total}" if total > 1 else "This picture"
    answer = f"recolor {index}" if total > 1 else "recolor"
    return (
        f"{which} seems to be in color already. If I am wrong, or you want to see how I would have guessed, reply "
        f"`{answer}`."
    )


def refusal(reason: Reason, details: Details = NO_DETAILS) -> str:
    """Why there is no picture, and what would help."""
    return _REFUSALS[reason].format(
        host=escape(details.host) if details.host else "there",
        count="only one picture" if details.count == 1 else f"{details.count} pictures",
        megabytes=f" ({details.megabytes} MB is the most)" if details.megabytes else "",
        wait=f" Try again in {duration(details.wait)}." if details.wait else "",
    )


def opted_out() -> str:
    """To a person who opted out."""
    return "Understood: I will neither answer you nor color what you post. `opt in` brings me back."


def opted_in() -> str:
    """To a person who opted in again."""
    return "Welcome back! I will come again when I am called."


def subreddit_opted_out(subreddit: str) -> str:
    """To a moderator who sent the bot away. `subreddit`: without r/."""
    return f"Understood: I will not answer in {escape(subreddit)} any more. `opt in` from a moderator brings me back."


def subreddit_opted_in(subreddit: str) -> str:
    """To a moderator who called the bot back. `subreddit`: without r/."""
    return f"Thank you! I will answer in {escape(subreddit)} again when I am called."


def forwarded() -> str:
    """To a person or moderators who wrote to the bot and asked for nothing that it can do."""
    return (
        "Thank you for writing. I cannot understand this, but I have passed it on to the person who runs me. If it is "
        "about one of my comments, the reply `delete` to it takes it back at once."
    )


def message_subject() -> str:
    """Of a private message that says why there is no answer in the thread."""
    return "About the photograph that you wanted in color"


def alt_text(title: str) -> str:
    """What the picture in a comment shows, for who cannot see it: plain text. `title`: the post's."""
    shown = " ".join(_ADDRESS.sub("…", _MENTION.sub("", _printable(title))).split())
    named = f"“{_cut(shown, MAX_TITLE)}”: " if shown else ""
    return f"{named}the photograph in colors that a machine guessed"


def signed(text: str, about: About, kind: Kind = "comment") -> str:
    """With who speaks, how to be rid of it, and where to complain: below a picture on a line of its own."""
    links = [f"[Contact]({_target(about.contact)})"]
    links += [f"[Code]({_target(about.code)})"] if about.code else []
    separator = "\n\n" if kind == "picture" else " "
    return f"{text}{separator}*I am a bot. {_MANNERS[kind]}{' · '.join(links)}*"


def duration(seconds: float) -> str:
    """`30 days`, `1 hour`: rounded up in the largest unit of which there is one at least."""
    whole = max(1, round(seconds))
    name, size = next((name, size) for name, size in _UNITS if whole >= size)
    count = -(-whole // size)
    return f"{count} {name}{'s' if count != 1 else ''}"


def escape(text: str) -> str:
    """Somebody's words on one line, shortened, that cannot be Markdown, a link, or a call of somebody."""
    cut = _cut(_printable(_ADDRESS.sub("…", text)), MAX_TITLE)
    return _MENTION.sub("\\1/\N{WORD JOINER}", _SPECIAL.sub(r"\\\1", cut))


def _target(url: str) -> str:
    """An address that ends where it should in Markdown."""
    return url.replace("(", "%28").replace(")", "%29").replace(" ", "%20")


def _printable(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    words = text[: longest - 1]
    return (words.rpartition(" ")[0] or words).rstrip(" ,.;:-") + "…"


def _source(shown: ColoredImage, pictures: Sequence[ColoredImage]) -> str:
    name = "the original" if len(pictures) == 1 else f"original {shown.index}"
    link = f"[{name}]({_target(shown.source)})"
    return f"{link} ([posted here]({_target(shown.posted)}))" if shown.posted else link
