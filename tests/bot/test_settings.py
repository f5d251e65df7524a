"""The bot's settings: what an operator hears of a wrong one."""

from __future__ import annotations

import pytest

from bot import settings as configuration
from bot.images import AllowedHosts
from bot.settings import SettingsError
from service.settings import ELSEWHERE

NEEDED = {"REDDIT_CLIENT_ID": "an-app", "REDDIT_USERNAME": "colorizebot", "REDDIT_PASSWORD": "hunter2"}


@pytest.fixture
def read(monkeypatch):
    def with_environment(**values: str) -> configuration.Settings:
        for name, value in {**NEEDED, **values}.items():
            monkeypatch.setenv(f"AUTOCHROME_{name}", value)
        return configuration.read()

    return with_environment


def test_words_are_read_as_people_write_them(read):
    settings = read(
        PUBLIC_URL="https://colors.example/",
        BOT_SUBREDDITS="r/OldPhotos+TheWayWeWere, ColorizedHistory",
        IMAGE_HOSTS="i.redd.it, http://127.0.0.1:8099",
    )
    assert settings.bot_subreddits == ("OldPhotos", "TheWayWeWere", "ColorizedHistory")
    assert settings.image_hosts == AllowedHosts.parse(["i.redd.it", "http://127.0.0.1:8099"])
    assert settings.link_url == "https://colors.example"
    assert read(IMAGE_HOSTS="").image_hosts.allows("https://i.redd.it/a.jpg")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"REDDIT_PASSWORD": ""},
            "Set one of AUTOCHROME_REDDIT_PASSWORD and AUTOCHROME_REDDIT_REFRESH_TOKEN.",
        ),
        ({"REDDIT_CLIENT_ID": ""}, "AUTOCHROME_REDDIT_CLIENT_ID is not set: see docs/bot.md."),
        ({"BOT_PAUSE": "soon"}, "AUTOCHROME_BOT_PAUSE='soon': Input should be a valid number"),
        ({"IMAGE_HOSTS": "ftp://x"}, "AUTOCHROME_IMAGE_HOSTS='ftp://x': 'ftp://x' is no origin"),
        (
            {"SERVICE_URL": "localhost:8000"},
            "AUTOCHROME_SERVICE_URL='localhost:8000': it must begin with http",
        ),
        ({"BOT_REQUESTS_PER_MINUTE": "600"}, "less than or equal to 100"),
        (
            {"BOT_SUBREDDIT": "OldPhotos"},
            "AUTOCHROME_BOT_SUBREDDIT is no setting. Did you mean AUTOCHROME_BOT_SUBREDDITS?",
        ),
        ({"REDDIT_PASWORD": "x"}, "AUTOCHROME_REDDIT_PASWORD is no setting."),
    ],
)
def test_a_wrong_setting_is_named_in_a_sentence(read, values, words):
    with pytest.raises(SettingsError) as refused:
        read(**values)
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_the_service_does_not_warn_of_the_bots_settings():
    assert set(configuration.known()) - {"AUTOCHROME_PUBLIC_URL"} <= set(ELSEWHERE)
