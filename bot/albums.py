"""Albums of Imgur, opened by its API where the operator has a client id for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import httpx

from bot.images import album_of
from bot.settings import Settings

KEPT_FOR = 600.0
"""Seconds for which an album's answer holds."""
MAX_KNOWN = 1000
MAX_ALBUMS = 5
"""Of one mention; whoever links to more would spend what Imgur allows for all."""
log = logging.getLogger("autochrome.bot")


class Albums:
    """One request an album; an album that cannot be read is as one without a client id."""

    def __init__(self, settings: Settings, web: httpx.Client, clock: Callable[[], float]) -> None:
        self._client_id = settings.bot_imgur_client_id.get_secret_value()
        self._url = settings.bot_imgur_url
        self._web = web
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Sequence[str]]] = {}

    def open(self, links: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Address of an album → addresses of its pictures as people see them, "" for one that moves; without those that show none."""
        if not self._client_id:
            return {}
        albums = [(link, album) for link in links if (album := album_of(link))][:MAX_ALBUMS]
        opened = {link: self._pictures(album) for link, album in albums}
        return {link: pictures for link, pictures in opened.items() if any(pictures)}

    def _pictures(self, album: tuple[str, str]) -> Sequence[str]:
        read_at, pictures = self._known.get(album, (float("-inf"), ()))
        if self._clock() < read_at + KEPT_FOR:
            return pictures
        try:
            pictures = self._read(*album)
        except (httpx.HTTPError, httpx.InvalidURL, AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("album_failed error=%s", type(error).__name__)
            pictures = ()
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[album] = (self._clock(), pictures)
        return pictures

    def _read(self, kind: str, id: str) -> Sequence[str]:
        """What is in it: of a gallery that may be one picture. Raises AttributeError, KeyError, TypeError or ValueError."""
        headers = {"Authorization": f"Client-ID {self._client_id}", "Accept": "application/json"}
        answer = self._web.get(f"{self._url}/3/{kind}/{id}", headers=headers)
        answer.raise_for_status()
        data = answer.json()["data"]
        return ["" if it["animated"] else str(it["link"]) for it in data.get("images", [data])]
