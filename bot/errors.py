"""What can go wrong with the bot, and what Reddit's refusals mean to it.

BotError
├── SettingsError    a setting cannot be used
└── RedditError
    ├── Throttled    not now: again after `seconds`
    │   └── Stopped      not in this process: it is to end
    ├── Forbidden    the bot may not do that there; `code` says why, where Reddit does
    ├── Gone         what was asked for or answered is not there
    ├── SignedOut    Reddit does not know the app or the account
    └── Unavailable  no answer, or none that makes sense
        └── Uncertain    the same to a call that writes: it may have been done
"""

from __future__ import annotations

EX_CONFIG = 78
"""Exit status of a wrong setting (sysexits.h)."""


class BotError(Exception):
    """Root of them; the message is one or two whole sentences."""


class SettingsError(BotError):
    """A setting is missing or cannot be used."""


class RedditError(BotError):
    """Reddit did not do what it was asked for."""


class Throttled(RedditError):  # noqa: N818  (a turn of events)
    """Nothing was done. `seconds`: when to ask again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Reddit asks for {seconds:.0f} s of patience.")
        self.seconds = seconds


class Stopped(Throttled):
    """Reddit was not asked, as the bot is to end."""

    def __init__(self) -> None:
        super().__init__(0)


class Forbidden(RedditError):  # noqa: N818
    """Nothing was done. `code`: Reddit's own, such as THREAD_LOCKED, or ""."""

    def __init__(self, code: str = "") -> None:
        super().__init__(f"Reddit forbids it ({code})." if code else "Reddit forbids it.")
        self.code = code


class Gone(RedditError):  # noqa: N818
    """It was deleted, or never was."""


class SignedOut(RedditError):  # noqa: N818
    """Reddit refuses the app's or the account's credentials."""


class Unavailable(RedditError):  # noqa: N818
    """Reddit does not answer as it should; it may later."""


class Uncertain(Unavailable):
    """The answer to a call that writes was lost: it is unknown whether it was done."""
