"""How Reddit says no: with a status, or with 200 and an error in the JSON of a form."""

from __future__ import annotations

WORDS = {
    "RATELIMIT": (
        "Looks like you've been doing that a lot. Take a break for 7 minutes before trying again.",
        "ratelimit",
    ),
    "THREAD_LOCKED": ("Comments are locked.", "parent"),
    "TOO_OLD": ("that's a piece of history now; it's too late to reply to it", "parent"),
    "DELETED_COMMENT": ("that comment has been deleted", "parent"),
    "DELETED_LINK": ("the link you are commenting on has been deleted", "parent"),
    "NO_THING_ID": ("id not specified", "parent"),
    "NO_TEXT": ("we need something here", "text"),
    "TOO_LONG": ("this is too long (max: 10000)", "text"),
    "NOT_AUTHOR": ("you can't do that", "thing_id"),
    "SUBREDDIT_NOEXIST": ("that subreddit doesn't exist", "sr"),
    "SUBREDDIT_NOTALLOWED": ("you aren't allowed to post there.", "sr"),
    "USER_DOESNT_EXIST": ("that user doesn't exist", "to"),
    "USER_BLOCKED": ("you can't do that to a user who has blocked you", "parent"),
    "BAD_URL": ("you should check that url", "url"),
    "DOMAIN_BANNED": ("that domain is banned from this site", "text"),
    "MEDIA_NOT_ALLOWED": ("pictures are not allowed in comments here", "richtext_json"),
    "INVALID_MEDIA": ("that picture is not there", "richtext_json"),
    "NO_TITLE": ("please enter a title", "title"),
    "NO_URL": ("a url is required", "url"),
    "BAD_SR_NAME": ("that name isn't going to work", "sr"),
    "INVALID_CROSSPOST_THING": ("that isn't a valid thing to crosspost", "crosspost_fullname"),
}


class RefusedError(Exception):
    """A status of HTTP, with Reddit's word for the reason where it has one."""

    def __init__(self, status: int, reason: str | None = None, words: str | None = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.words = words


class FormError(Exception):
    """An error in `json.errors`, told with status 200."""

    def __init__(self, code: str, words: str | None = None) -> None:
        super().__init__(code)
        usual, self.field = WORDS.get(code, ("something went wrong", ""))
        self.code = code
        self.words = words or usual


class MovedError(Exception):
    """It is elsewhere."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location
