"""A client of the REST API: photographs go there gray and come back in color.

    with Autochrome("http://127.0.0.1:8000") as service:
        photo = service.colorize("old.jpg", artifacts=["comparison"])
        photo.save("new.jpg")
        for notice in photo.notices:
            print(notice.detail)
        red = photo.recolor(hints=[{"x": 0.4, "y": 0.6, "color": "#7a1f2b"}])
        photo.erase()

One step at a time, for those who keep a record of their own:

    job = service.create(data, new_id(), {"vividness": 1.2}, wait=25, secret=secrets.token_hex(24))
    job = service.wait_for(job.id, 60)
    data = service.result(job.id)
    service.delete(job.id, job.secret)

It is this one file, and needs httpx. Everything that it sends may be repeated: a photo goes by PUT under an id of the
client's own, so that however often it is sent, it is colored once. It repeats by itself what failed on the way.

AutochromeError
├── RefusedError            the answer is no, and would be again
│   ├── PhotoRefusedError   this photo cannot be colored
│   ├── NotAllowedError     the key or the secret does not open this
│   ├── NotFoundError       there is no such job
│   ├── GoneError           it was erased, or has expired
│   └── ConflictError       the id stands for another photo
├── FailedError             the service broke over this photo
├── BusyError               the queue or a quota is full: again after `retry_after` seconds
├── UnavailableError        no answer, or none that makes sense: again later
└── PendingError            it is not colored yet; `job` says which one it is
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import httpx

Options: TypeAlias = Mapping[str, object]
"""By their names in the API, as plain values: text, numbers, booleans, lists of these or of dictionaries; None: the default."""

MAX_WAIT = 25.0
"""Seconds for which one request is kept waiting; proxies cut off longer ones."""
WAIT = 600.0
"""Seconds that a photo may take, where nothing else is said."""
MIN_DELAY, MAX_DELAY = 0.5, 15.0
_ID = re.compile(r"[0-9a-f]{32}")
_TRANSIENT = {408, 425, 500, 502, 503, 504, 507}
"""Statuses that pass."""


class AutochromeError(Exception):
    """What went wrong, with the problem's stable code and the service's own sentence (RFC 9457)."""

    def __init__(self, detail: str, code: str = "", status: int = 0, retry_after: float = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.retry_after = retry_after


class RefusedError(AutochromeError):
    """The answer is no, and would be again."""


class PhotoRefusedError(RefusedError):
    """This photo cannot be colored."""


class NotAllowedError(RefusedError):
    """The key or the secret is missing, wrong, or not made for this."""


class NotFoundError(RefusedError):
    """There is no such job, or no such file of it."""


class GoneError(RefusedError):
    """It was erased or has expired. Its id cannot be used again."""


class ConflictError(RefusedError):
    """The id stands for another photo or other options, or the job is not done."""


class FailedError(AutochromeError):
    """The service broke over this photo, more than once."""


class BusyError(AutochromeError):
    """There is no room, now or for this client; `retry_after` says when there may be."""


class UnavailableError(AutochromeError):
    """The service does not answer, or says that it cannot work."""


class PendingError(AutochromeError):
    """The photo is not colored yet. It will be: `Autochrome.photo_of(error.job)` goes on waiting."""

    def __init__(self, job: Job) -> None:
        super().__init__("The photo is not colored yet. Ask for its job again later.", "not_ready")
        self.job = job


_OF_CODES: dict[str, type[AutochromeError]] = {
    "body_too_large": PhotoRefusedError,
    "expired": GoneError,
    "canceled": GoneError,
    "rate_limited": BusyError,
    "queue_full": BusyError,
    "store_full": BusyError,
    "in_flight": BusyError,
    "worker_died": FailedError,
    "out_of_memory": FailedError,
    "photo_lost": FailedError,
}
_OF_STATUSES: dict[int, type[AutochromeError]] = {
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: PhotoRefusedError,
    429: BusyError,
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something that was made beside a result."""

    name: str
    kind: str
    media_type: str
    rank: int | None
    """Of an alternative: 1 is the likeliest. None of others."""
    probability: float | None
    """Of an alternative: how likely it is against the result, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A color that a place could have."""

    color: str
    """#rrggbb, as a hint takes it."""
    probability: float
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a person should know of a picture, although the photo was colored."""

    code: str
    """Stable, for programs."""
    detail: str
    """A sentence or two, for people."""


@dataclass(frozen=True, slots=True)
class Job:
    """One colorization, as the service last said."""

    id: str
    status: str
    """queued, running, succeeded, failed or canceled."""
    secret: str = field(repr=False)
    """Lets its holder erase the job; "" where it was not said."""
    expires_at: datetime
    net: str
    """The network that colored it; "" before."""
    width: int
    height: int
    """Of the result, in pixels; 0 before."""
    artifacts: tuple[Artifact, ...]
    notices: tuple[Notice, ...]
    error: str
    """Why it failed, as a code; "" where it did not."""
    detail: str

    @property
    def is_over(self) -> bool:
        return self.status not in ("queued", "running")


def new_id() -> str:
    """A random id for a job."""
    return secrets.token_hex(16)


def job_id(secret: bytes, used_for: str, picture: str, options: Options) -> str:
    """The id that always comes out for the same picture, place and options; to others it is random.

    `used_for`: what the picture is colored for, such as a comment's name. `secret`: 16 random bytes or more.
    """
    words = [used_for, picture, *(f"{name}={value}" for name, value in sorted(options.items()))]
    said = b"".join(len(word).to_bytes(4, "big") + word for word in (word.encode() for word in words))
    return hmac.new(secret, said, hashlib.sha256).hexdigest()[:32]


def job_secret(secret: bytes, id: str) -> str:
    """A secret for the job of this id that its sender knows even where the answer is lost. `secret`: as `job_id` takes it."""
    return hmac.new(secret, f"secret of {id}".encode(), hashlib.sha256).hexdigest()


class Autochrome:
    """Speaks to one service. Every method raises AutochromeError and nothing else, but for wrong arguments."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retry_for: float = 30.0,
        timeout: float = 30.0,
        user_agent: str = "autochrome-client",
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url`: without /v1. `key`: an API key. `retry_for`: seconds for which failures are retried;
        0: never. `timeout`: seconds without a byte, beyond what a request asks the service to wait.
        """
        headers = {"User-Agent": user_agent, "Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.Client(
            base_url=url.rstrip("/"), headers=headers, timeout=timeout, transport=transport
        )
        self.has_key = bool(key)
        self._timeout = timeout
        self._retry_for = retry_for
        self._sleep = sleep
        self._clock = clock

    def __enter__(self) -> Autochrome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def colorize(self, photo: str | os.PathLike[str] | bytes, *, wait: float = WAIT, **options: Any) -> Photo:
        """A photo in color. `photo`: its file, or the bytes of it. `wait`: seconds for which that may take at most.

        Raises PendingError where it takes longer, what its failure is where it cannot be colored, and OSError where its file cannot
        be read.
        """
        data = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
        give_up = self._clock() + wait
        job = self.create(data, new_id(), options, wait, secrets.token_hex(24))
        return self.photo_of(job, give_up - self._clock())

    def recolor(self, original: Job, *, wait: float = WAIT, **options: Any) -> Photo:
        """See `Photo.recolor`."""
        give_up = self._clock() + wait
        job = self.revise(original, new_id(), options, wait, secrets.token_hex(24))
        return self.photo_of(job, give_up - self._clock())

    def photo_of(self, job: Job, wait: float = WAIT) -> Photo:
        """The colored photo of a job. `wait`: for its end, seconds. Raises PendingError, and what the failure is of one that failed."""
        if not job.is_over:
            job = replace(self.wait_for(job.id, wait), secret=job.secret)
        if not job.is_over:
            raise PendingError(job)
        if job.error:
            raise (_kind_of(job.error) or FailedError)(job.detail, job.error)
        return Photo(self.result(job.id), job, self)

    def create(
        self, photo: bytes, id: str, options: Options | None = None, wait: float = 0, secret: str = ""
    ) -> Job:
        """Have a photo colored under this id; once, however often this is called. `wait`: for its end, seconds.

        `secret`: 32 to 128 random letters and digits by which the job is erased, where the client has no API key, which does that
        too. Without either only the first answer tells a secret: it is lost with that.
        """
        return self._put(id, photo, "application/octet-stream", _query(options or {}), wait, secret)

    def revise(
        self, original: Job, id: str, options: Options | None = None, wait: float = 0, secret: str = ""
    ) -> Job:
        """Have the photo of a job colored anew under this id, with its options where `options` says no others. All else as in `create`.

        `original`: with its secret, where the client has no API key. What is made goes when the original is erased.
        """
        proof = {"secret": original.secret} if original.secret else {}
        wish = json.dumps({"revise": original.id, **proof, **(options or {})})
        return self._put(id, wish.encode(), "application/json", {}, wait, secret)

    def _put(
        self, id: str, body: bytes, kind: str, query: Mapping[str, str], wait: float, secret: str
    ) -> Job:
        if not _ID.fullmatch(id):
            raise ValueError(f"{id!r} is no id: 32 lowercase hexadecimal digits")
        held = min(max(wait, 0.0), MAX_WAIT)
        own = {"Authorization": f"Bearer {secret}"} if secret and not self.has_key else {}
        response = self._send(
            "PUT",
            f"/v1/colorizations/{id}",
            content=body,
            params=query,
            headers={"Content-Type": kind, "Prefer": f"wait={int(held)}", **own},
            timeout=self._timeout + held,
        )
        return _job(response)

    def get(self, id: str) -> Job:
        """The job as it stands."""
        return _job(self._send("GET", f"/v1/colorizations/{id}"))

    def wait_for(self, id: str, seconds: float, pause: float = MAX_DELAY) -> Job:
        """The job when it has ended, or as it stands after so many seconds. `pause`: between two looks, at most."""
        give_up = self._clock() + seconds
        while True:
            response = self._send("GET", f"/v1/colorizations/{id}")
            job = _job(response)
            left = give_up - self._clock()
            if job.is_over or left <= 0:
                return job
            self._sleep(min(max(_retry_after(response), 0.2), pause, left))

    def result_url(self, id: str) -> str:
        """Where the colored picture is, once the job has succeeded."""
        return str(self._http.base_url.join(f"v1/colorizations/{id}/result"))

    def result(self, id: str) -> bytes:
        """The colored picture."""
        return self._file(f"/v1/colorizations/{id}/result")

    def artifact(self, id: str, name: str) -> bytes:
        """What was made beside it, such as `comparison`."""
        return self._file(f"/v1/colorizations/{id}/artifacts/{name}")

    def suggestions(self, id: str, x: float, y: float) -> tuple[Suggestion, ...]:
        """See `Photo.suggestions`."""
        response = self._send("GET", f"/v1/colorizations/{id}/suggestions", params={"x": x, "y": y})
        try:
            return tuple(Suggestion(each["color"], each["probability"]) for each in response.json())
        except (KeyError, TypeError, ValueError) as wrong:
            raise UnavailableError("The answer is no list of colors.") from wrong

    def _file(self, path: str) -> bytes:
        """It may lie in a store elsewhere, to which httpx sends no key along."""
        return self._send("GET", path, headers={"Accept": "*/*"}, follow_redirects=True).content

    def delete(self, id: str, secret: str = "") -> None:
        """Erase the job with its photo and result; done, too, where there is none any more.

        `secret`: as `create` gave it; not needed where the client has the API key that made the job.
        """
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        try:
            self._send("DELETE", f"/v1/colorizations/{id}", headers=headers)
        except (GoneError, NotFoundError):
            return

    def max_keep_for(self) -> float:
        """Seconds for which this service keeps a job at most, as its OpenAPI document says; infinite if it does not."""
        document = _json(self._send("GET", "/openapi.json"))
        try:
            parameters = document["paths"]["/v1/colorizations/{id}"]["put"]["parameters"]
            [schema] = [each["schema"] for each in parameters if each["name"] == "keep_for"]
            return float(schema["maximum"])
        except (LookupError, TypeError, ValueError):
            return float("inf")

    def is_ready(self) -> bool:
        """Whether a worker is there and the service can work, as it says itself."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.HTTPError:
            return False

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """An answer that is no error; retried for as long as `retry_for` says."""
        give_up = self._clock() + self._retry_for
        pause = MIN_DELAY
        while True:
            try:
                return self._once(method, path, request)
            except (BusyError, UnavailableError) as error:
                wanted = max(pause * random.uniform(0.5, 1.5), error.retry_after)
                if self._clock() + wanted > give_up:
                    raise
            self._sleep(wanted)
            pause = min(2 * pause, MAX_DELAY)

    def _once(self, method: str, path: str, request: Mapping[str, Any]) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"The service does not answer: {str(error) or type(error).__name__}"
            ) from error
        if not response.is_success:
            raise _error(response)
        return response


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo in color. The service keeps it until `job.expires_at`."""

    picture: bytes = field(repr=False)
    """The file, as the service wrote it."""
    job: Job
    _service: Autochrome = field(repr=False, compare=False)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a person should know of it."""
        return self.job.notices

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What was made beside it, as it was asked for; `artifact` reads one."""
        return self.job.artifacts

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture. Its format is what `colorize` was asked for by `format`, whatever the name ends in."""
        Path(path).write_bytes(self.picture)

    def artifact(self, name: str) -> bytes:
        """The file of an artifact, such as `comparison`."""
        return self._service.artifact(self.job.id, name)

    def recolor(self, *, wait: float = WAIT, **options: Any) -> Photo:
        """The same photo colored anew, with these options and all others as before; it is not sent again. `wait`: as in `colorize`."""
        return self._service.recolor(self.job, wait=wait, **options)

    def suggestions(self, x: float, y: float) -> tuple[Suggestion, ...]:
        """The likeliest colors at a place, where the photo was colored with `artifacts=["suggestions"]`; five at most, likeliest first.

        `x`, `y`: across and down the picture, 0 to 1.
        """
        return self._service.suggestions(self.job.id, x, y)

    def erase(self) -> None:
        """Erase it at the service, with the photo that was sent and all that was colored anew from it."""
        self._service.delete(self.job.id, self.job.secret)


def _query(options: Options) -> dict[str, str]:
    """As the API reads options in a query: words with commas between, all else as JSON writes it. What is not set is not sent."""
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return json.dumps(value)


def _error(response: httpx.Response) -> AutochromeError:
    """What a refusal says."""
    document = _json(response)
    code = str(document.get("code", ""))
    detail = str(document.get("detail") or f"The service answered {response.status_code}.")
    kind = _kind_of(code)
    if kind is None and response.status_code in _TRANSIENT:
        # With the id of a job it is how that one ended, which it does not do twice.
        kind = FailedError if "id" in document else UnavailableError
    kind = kind or _OF_STATUSES.get(response.status_code, RefusedError)
    return kind(detail, code, response.status_code, _retry_after(response))


def _kind_of(code: str) -> type[AutochromeError] | None:
    """None: the code alone does not tell."""
    return _OF_CODES.get(code) or (PhotoRefusedError if code.startswith("photo_") else None)


def _json(response: httpx.Response) -> dict[str, Any]:
    """The document, or nothing where it is none."""
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(response: httpx.Response) -> float:
    """Seconds; 0 where none are said."""
    said = response.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdecimal() else 0.0


def _job(response: httpx.Response) -> Job:
    """The job in an answer. Raises UnavailableError where there is none, as when a proxy speaks."""
    document = _json(response)
    try:
        result = document["result"] or {}
        error = document["error"] or {}
        return Job(
            id=document["id"],
            status=document["status"],
            secret=document.get("secret") or "",
            expires_at=datetime.fromisoformat(document["expires_at"]),
            net=(document["net"] or {}).get("name", ""),
            width=result.get("width", 0),
            height=result.get("height", 0),
            artifacts=tuple(
                Artifact(
                    made["name"], made["kind"], made["media_type"], made.get("rank"), made.get("probability")
                )
                for made in document["artifacts"]
            ),
            notices=tuple(Notice(each["code"], each["detail"]) for each in document["notices"]),
            error=error.get("code", ""),
            detail=error.get("detail", ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise UnavailableError("The answer is no job: is this the service's address?") from wrong
