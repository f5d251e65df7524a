"""The bot's settings: what an operator reads of a wrong one."""

from __future__ import annotations

import pytest

from bot import settings as configuration
from bot.images import AllowedHosts
from bot.settings import SettingsError

NEEDED = {"REDDIT_CLIENT_ID": "an-app", "REDDIT_USERNAME": "colorizebot", "REDDIT_PASSWORD": "hunter2"}


@pytest.fixture
def read(monkeypatch):
    def with_environment(**values: str) -> configuration.Settings:
        for name, value in {**NEEDED, **values}.items():
            monkeypatch.setenv(name, value)
        return configuration.read()

    return with_environment


def test_words_are_read_as_people_write_them(read):
    settings = read(
        BOT_PUBLIC_URL="https://colors.example/",
        BOT_SUBREDDITS="r/OldPhotos+TheWayWeWere, ColorizedHistory",
        BOT_IMAGE_HOSTS="i.redd.it, http://127.0.0.1:8099",
    )
    assert settings.bot_subreddits == ("OldPhotos", "TheWayWeWere", "ColorizedHistory")
    assert settings.bot_image_hosts == AllowedHosts.parse(["i.redd.it", "http://127.0.0.1:8099"])
    assert settings.link_url == "https://colors.example"
    assert read(BOT_IMAGE_HOSTS="").bot_image_hosts.allows("https://i.redd.it/a.jpg")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"REDDIT_PASSWORD": ""},
            "Set one of REDDIT_PASSWORD and REDDIT_REFRESH_TOKEN.",
        ),
        ({"REDDIT_CLIENT_ID": ""}, "REDDIT_CLIENT_ID is not set: see docs/bot.md."),
        ({"BOT_POLL_INTERVAL": "soon"}, "BOT_POLL_INTERVAL='soon': Input should be a valid number"),
        ({"BOT_IMAGE_HOSTS": "ftp://x"}, "BOT_IMAGE_HOSTS='ftp://x': 'ftp://x' is no origin"),
        (
            {"BOT_SERVICE_URL": "localhost:8000"},
            "BOT_SERVICE_URL='localhost:8000': it must begin with http",
        ),
        ({"BOT_REQUESTS_PER_MINUTE": "600"}, "less than or equal to 100"),
        (
            {"BOT_SUBREDDIT": "OldPhotos"},
            "BOT_SUBREDDIT is no setting. Did you mean BOT_SUBREDDITS?",
        ),
        ({"REDDIT_PASWORD": "x"}, "REDDIT_PASWORD is no setting."),
    ],
)
def test_a_wrong_setting_is_named_in_a_sentence(read, values, words):
    with pytest.raises(SettingsError) as refused:
        read(**values)
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_settings_of_the_service_are_none_of_the_bots(read, monkeypatch):
    for name in ("SERVICE_URL", "PUBLIC_URL", "BOT_PUBLIC_URL", "REDDIT_URL"):
        monkeypatch.setenv(f"AUTOCHROME_{name}", "https://other.example")
    settings = read()
    assert settings.bot_service_url == "http://127.0.0.1:8000"
    assert settings.bot_public_url is None
    assert settings.reddit_url == "https://www.reddit.com"
    assert not [name for name in configuration.known() if name.startswith("AUTOCHROME_")]
