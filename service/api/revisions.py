"""Photos that were sent before, colored anew: `{"revise": id, "secret": …}` with other options.

A revision is a job like any other, but that its photo is the original's and lies there alone. So it is erased with that, and
no later. A revision of a revision is one of the same original, with the options of the one that was named.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from anyio.to_thread import run_sync

from service.api.presigned import stored
from service.api.state import ApiState
from service.api.uploads import Original, Upload
from service.auth import Caller
from service.errors import Problem
from service.models import Job
from service.schemas import options_from_json
from service.storage import photo_key


@asynccontextmanager
async def named(wish: dict[str, Any], state: ApiState, by: Caller) -> AsyncIterator[Upload]:
    """The photo of the job that a JSON body names, with that job's options where the body does not say others.

    Raises `json_invalid`, `option_unknown`, `option_invalid`, `not_found`, `expired`, `canceled`, `secret_missing` or `secret_wrong`.
    Reading the photo may raise `canceled`, `expired` or `photo_lost`.
    """
    id, secret = wish.pop("revise"), wish.pop("secret", "")
    if not isinstance(id, str) or not isinstance(secret, str):
        raise Problem("json_invalid", what="`revise` and `secret` are strings.")
    options_from_json(wish)  # what is wrong with them is said of what was sent
    job = await run_sync(_original, state, id, secret, by)
    # A webhook was asked for that one's end, and its address may hold a secret.
    kept = job.options.model_dump(mode="json", exclude_defaults=True, exclude={"webhook"})
    key = photo_key(job.photo_of, job.upload)
    photo = stored(state, partial(_opened, state, job.photo_of, key))
    yield Upload(
        photo, f"revision {key}", options_from_json(kept | wish), key, Original(job.photo_of, job.upload)
    )


def _original(state: ApiState, id: str, secret: str, by: Caller) -> Job:
    """A job whose photo is there, and whose secret or API key its caller has."""
    job = state.find(id)
    replace(by, secret=secret).require_ownership(job.owner, state.opens(job))
    if job.status == "canceled":
        raise Problem("canceled")
    return job


def _opened(state: ApiState, id: str, key: str) -> tuple[str, int]:
    try:
        return key, state.store.size(key)
    except FileNotFoundError as gone:
        if state.find(id).status == "canceled":  # in this moment
            raise Problem("canceled") from gone
        raise Problem("photo_lost") from gone
