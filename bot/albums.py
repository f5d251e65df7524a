"""Albums of Imgur, opened by its API where the operator has a client id for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import httpx

from bot.images import ImageError, album_of, read_bytes
from bot.settings import Settings

KEPT_FOR = 600.0
"""Seconds for which an album's answer holds."""
MAX_KNOWN = 1000
MAX_ALBUMS = 5
"""Of one mention; whoever links to more would spend what Imgur allows for all."""
MAX_BYTES = 2**20
"""Of an album's answer."""
DEADLINE = 20.0
"""Seconds for one answer in all."""
_UNREADABLE = (
    httpx.HTTPError,
    httpx.InvalidURL,
    ImageError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
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
        except _UNREADABLE as error:
            log.warning("album_failed error=%s", type(error).__name__)
            pictures = ()
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[album] = (self._clock(), pictures)
        return pictures

    def _read(self, kind: str, id: str) -> Sequence[str]:
        """What is in it: of a gallery that may be one picture. Raises what is in _UNREADABLE."""
        give_up = self._clock() + DEADLINE
        headers = {"Authorization": f"Client-ID {self._client_id}", "Accept": "application/json"}
        with self._web.stream("GET", f"{self._url}/3/{kind}/{id}", headers=headers) as answer:
            answer.raise_for_status()
            data = json.loads(read_bytes(answer, MAX_BYTES, lambda: self._clock() > give_up))["data"]
        return ["" if it["animated"] else str(it["link"]) for it in data.get("images", [data])]
