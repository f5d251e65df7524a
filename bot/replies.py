"""Every sentence that people on Reddit read from the bot: Markdown, short and kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_TITLE = 90
"""Characters of a title that is repeated."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~^&@-])")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION = re.compile(r"\b([ur])/(?=\w)", re.IGNORECASE)
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
    Reason.ALBUM: "I cannot look into albums. Link to the one picture itself (on Imgur: right-click it, “copy image "
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
    Reason.NOT_YOURS: "Only who called me, who posted the photograph, or a moderator can ask for that.",
    Reason.OPTED_OUT: "Whoever posted this asked me to leave their pictures alone, and so I do.",
    Reason.OVER_18: "I do not color what is marked as NSFW.",
    Reason.PRIVATE: "I cannot see that community, so I cannot answer there.",
    Reason.QUARANTINED: "That community is quarantined, and I do not answer there.",
    Reason.REMOVED: "That post has been removed, so I left its picture alone.",
    Reason.TOO_LARGE: "That picture is too large for me{megabytes}. Post a smaller copy and call me again.",
    Reason.TOO_SMALL: "That picture is too small or too narrow for me to see anything in it. Is there a larger one?",
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
    pictures: Sequence[ColoredImage], *, title: str, keep_for: float, total: int = 1, vividness: float = 1.0
) -> str:
    """The comment under a mention. `title`: the post's; `keep_for`: seconds; `total`: pictures that there are."""
    how = {1.0: ""}.get(vividness, " More vivid than I would." if vividness > 1 else " Calmer than I would.")
    if len(pictures) == 1:
        head = f"**[Here it is in color]({_target(pictures[0].link)})**, beside the gray one.{how}"
        if total > 1:
            head += (
                f" It is number {pictures[0].index} of {total}: answer with another number or `all` for more."
            )
    else:
        links = (f"[{shown.index}]({_target(shown.link)})" for shown in pictures)
        head = f"**Here they are in color**, beside the gray ones: {', '.join(links)}.{how}"
    sources = ", ".join(f"[{_source_name(shown, pictures)}]({_target(shown.source)})" for shown in pictures)
    if any(shown.from_preview for shown in pictures):
        them = "The original is" if len(pictures) == 1 else "Some originals are"
        head += f" {them} too large for me, so I took Reddit’s smaller preview."
    return _signed(
        head,
        "Every color is a guess of a neural network, a likely one and not the truth; only light and shade are the "
        "photograph’s own.",
        f"Alt text: {alt_text(title)}  \nTaken from: {sources}. My copy is erased after {duration(keep_for)}.",
        closing="Answer `vivid` or `muted` for other colors, `delete` if you called me or it is yours, `opt out` and I "
        "never answer you again.",
    )


def already_colored(permalink: str) -> str:
    """To a later mention for the same picture in the same thread."""
    return _signed(f"I have colored this one already, [here in this thread]({_target(permalink)}).")


def already_in_color(index: int = 1, total: int = 1) -> str:
    """The picture is in color."""
    which = f"Picture {index} of {total}" if total > 1 else "This picture"
    answer = f"recolor {index}" if total > 1 else "recolor"
    return _signed(
        f"{which} seems to be in color already. If I am wrong, or you want to see how I would have guessed, answer "
        f"`{answer}`."
    )


def refusal(reason: Reason, details: Details = NO_DETAILS) -> str:
    """Why there is no picture, and what would help."""
    sentence = _REFUSALS[reason].format(
        host=escape(details.host) if details.host else "there",
        count="only one picture" if details.count == 1 else f"{details.count} pictures",
        megabytes=f" ({details.megabytes} MB is the most)" if details.megabytes else "",
        wait=f" Try again in {duration(details.wait)}." if details.wait else "",
    )
    return _signed(sentence)


def opted_out() -> str:
    """To a person who opted out."""
    return _signed(
        "Understood: I will neither answer you nor color what you post. `opt in` brings me back.", closing=""
    )


def opted_in() -> str:
    """To a person who opted in again."""
    return _signed("Welcome back! I will come again when I am called.")


def subreddit_opted_out(subreddit: str) -> str:
    """To a moderator who sent the bot away. `subreddit`: without r/."""
    return _signed(
        f"Understood: I will not answer in {escape(subreddit)} any more. `opt in` from a moderator brings me back.",
        closing="",
    )


def subreddit_opted_in(subreddit: str) -> str:
    """To a moderator who called the bot back. `subreddit`: without r/."""
    return _signed(f"Thank you! I will answer in {escape(subreddit)} again when I am called.")


def forwarded() -> str:
    """To a person or moderators who wrote to the bot and asked for nothing that it can do."""
    return _signed(
        "Thank you for writing. I am only a bot and cannot understand this, but I have passed it on to the person who runs "
        "me, who reads it. If it is about one of my comments, answering it with `delete` takes it back at once."
    )


def message_subject() -> str:
    """Of a private message that says why there is no answer in the thread."""
    return "About the photograph that you wanted in color"


def alt_text(title: str) -> str:
    """What the comparison shows, for who cannot see it."""
    named = f"“{escape(title)}”, " if title.strip() else ""
    return f"{named}the photograph twice, in gray on the left and in guessed colors on the right."


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


def _source_name(shown: ColoredImage, pictures: Sequence[ColoredImage]) -> str:
    return "the original" if len(pictures) == 1 else f"original {shown.index}"


def _signed(*paragraphs: str, closing: str = "Answer `opt out` and I never answer you again.") -> str:
    about = f"I am a bot and only come when I am called. {closing}".strip()
    return "\n\n".join([*paragraphs, "---", f"*{about}*"])
