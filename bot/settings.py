"""Settings of the bot, read from environment variables that begin with BOT_ or REDDIT_. Times are seconds."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.images import AllowedHosts

PREFIXES = ("BOT_", "REDDIT_")
"""What begins so is for the bot alone, so that a word that is none of its settings is a mistake."""
NO_SECRET = SecretStr("")


class SettingsError(Exception):
    """A setting is missing or cannot be used. The message is one or two whole sentences."""


def default_state_dir() -> Path:
    """`$XDG_STATE_HOME/autochrome-bot`, else `~/.local/state/autochrome-bot` (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "autochrome-bot"


def _names(value: object) -> object:
    """`a+b`, or with commas or spaces between; with r/ or without."""
    if not isinstance(value, str):
        return value
    words = value.replace("+", " ").replace(",", " ").split()
    return tuple(word.removeprefix("/").removeprefix("r/") for word in words)


def _hosts(value: object) -> object:
    return AllowedHosts.parse(value.replace(",", " ").split()) if isinstance(value, str) else value


def _trimmed(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("it must begin with http:// or https://")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_trimmed)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class Settings(BaseSettings):
    """What an operator may want to change."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    bot_service_url: Address = "http://127.0.0.1:8000"
    """Where the bot reaches the service that colors."""
    bot_public_url: Address | None = None
    """Where people reach it: links in answers begin so. Needed, unless it is a dry run."""
    bot_service_key: SecretStr = NO_SECRET
    """An API key of the service's, where it wants one."""

    reddit_client_id: str
    reddit_client_secret: SecretStr = NO_SECRET
    reddit_username: str
    """The bot's account."""
    reddit_password: SecretStr = NO_SECRET
    reddit_refresh_token: SecretStr = NO_SECRET
    """Instead of the password."""
    reddit_url: Address = "https://www.reddit.com"
    reddit_oauth_url: Address = "https://oauth.reddit.com"

    bot_image_hosts: Annotated[AllowedHosts, NoDecode, BeforeValidator(_hosts)] = AllowedHosts()
    """Hosts that pictures are taken from: names, `*.name`, or trusted origins such as http://127.0.0.1:8099."""

    bot_operator: str = ""
    """The account of whoever runs the bot, named in its user agent as Reddit asks; by default the bot's own."""
    bot_contact_url: Address | None = None
    """Where people reach whoever runs the bot, linked below each reply; by default a message on Reddit to the operator."""
    bot_code_url: Address | None = None
    """Where the source code is, linked below each reply."""
    bot_pictures: bool = True
    """Whether pictures are uploaded to Reddit and shown in the comment, where a subreddit allows it."""
    bot_imgur_client_id: SecretStr = NO_SECRET
    """Of an app at Imgur: with it, albums are opened."""
    bot_imgur_url: Address = "https://api.imgur.com"
    """Imgur's API."""
    bot_operator_webhook: SecretStr = NO_SECRET
    """An address that messages, complaints and notices for the operator are sent to (POST, JSON)."""
    bot_subreddits: Names = ()
    """Where the bare word in a comment calls the bot. Elsewhere a mention, u/colorizebot, does."""
    bot_state_dir: Annotated[Path, BeforeValidator(os.path.expanduser)] = Field(
        default_factory=default_state_dir
    )
    """For the database `bot.sqlite` and the file `health`, whose time is that of the last whole round."""
    bot_keep_for: Annotated[float, Field(ge=60)] = 30 * 24 * 3600.0
    """How long a colored picture is kept; less where the service allows less."""
    bot_over_18: bool = False
    """Whether pictures that are marked as NSFW are colored."""
    bot_ignore_bottiquette: bool = False
    """Whether the list of subreddits in r/Bottiquette's wiki that want no bots is passed over."""
    bot_deny: Names = ("SuicideWatch", "depression", "selfharm", "rapecounseling")
    """Subreddits that the bot stays out of, by default those where people seek help: no place for any bot."""

    bot_user_limit: Annotated[int, Field(ge=0)] = 10
    """Mentions of one person in an hour; 0: no limit."""
    bot_subreddit_limit: Annotated[int, Field(ge=0)] = 60
    """Mentions in one subreddit in an hour; 0: no limit."""
    bot_thread_limit: Annotated[int, Field(ge=0)] = 10
    """Mentions in one thread ever; 0: no limit."""
    bot_thread_user_limit: Annotated[int, Field(ge=0)] = 5
    """Replies of any kind to one person in one thread; 0: no limit."""
    bot_score_floor: int = -3
    """A comment of the bot's with this score or less is removed."""
    bot_requests_per_minute: Annotated[int, Field(ge=1, le=100)] = 90
    """Requests to Reddit in any minute; Reddit allows 100."""
    bot_poll_interval: Annotated[float, Field(gt=0)] = 5.0
    """Between two looks at the inbox."""
    bot_timeout: Annotated[float, Field(gt=0)] = 16.0
    """For one answer of Reddit's."""
    bot_retry_delay: Annotated[float, Field(gt=0)] = 5.0
    """Before the first retry of what failed; each further one waits twice as long, an hour at most."""
    bot_sweep_interval: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """Between two looks at what was answered: what is deleted on Reddit is erased here."""
    bot_retry_for: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """For how long a mention is retried before it is given up."""
    bot_metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Prometheus metrics on `bot_metrics_host`; 0: none."""
    bot_metrics_host: str = "127.0.0.1"

    @model_validator(mode="after")
    def _can_sign_in(self) -> Settings:
        if bool(self.reddit_password.get_secret_value()) == bool(
            self.reddit_refresh_token.get_secret_value()
        ):
            raise ValueError("Set one of REDDIT_PASSWORD and REDDIT_REFRESH_TOKEN")
        return self

    @property
    def contact_url(self) -> str:
        to = self.bot_operator or self.reddit_username
        return self.bot_contact_url or f"https://www.reddit.com/message/compose?to={to}"

    @property
    def link_url(self) -> str:
        """With what links in answers begin."""
        return self.bot_public_url or self.bot_service_url


def known() -> list[str]:
    """Every variable that is read."""
    return [name.upper() for name in Settings.model_fields]


def read() -> Settings:
    """Settings from the environment. Raises SettingsError that names each variable that cannot be used."""
    unknown = sorted(name for name in os.environ if name.startswith(PREFIXES) and name not in known())
    if unknown:
        raise SettingsError(" ".join(_unknown(name) for name in unknown))
    try:
        return Settings(**_nothing())
    except ValidationError as invalid:
        raise SettingsError(" ".join(_fault(each) for each in invalid.errors(include_url=False))) from None


def _nothing() -> dict[str, Any]:
    """All comes from the environment, which mypy does not know of."""
    return {}


def _unknown(name: str) -> str:
    meant = get_close_matches(name, known(), n=1)
    return f"{name} is no setting." + (f" Did you mean {meant[0]}?" if meant else "")


def _fault(fault: ErrorDetails) -> str:
    """One sentence, which repeats no secret."""
    what = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:  # it lies between several
        return f"{what}."
    name = str(fault["loc"][0]).upper()
    if fault["type"] == "missing":
        return f"{name} is not set: see docs/bot.md."
    secret = isinstance(Settings.model_fields[str(fault["loc"][0])].default, SecretStr)
    return f"{name}: {what}." if secret else f"{name}={fault['input']!r}: {what}."
