"""A client of the REST API, for anybody: it needs nothing of the bot, and shows how the API is meant to be used.

    with Client("http://127.0.0.1:8000") as client:
        job = client.create(photo, new_id(), {"artifacts": "comparison"}, wait=30, secret=secrets.token_hex(24))
        client.wait_for(job.id, 60)
        picture = client.result(job.id)
        client.delete(job.id, job.secret)

Everything that it sends may be repeated: a photo goes by PUT under an id of the client's own, so that however
often it is sent, it is colored once. It repeats by itself what failed on the way.

ClientError
├── RefusedError            the answer is no, and would be again
│   ├── PhotoRefusedError   this photo cannot be colored
│   ├── NotAllowedError     the key or the secret does not open this
│   ├── NotFoundError       there is no such job
│   ├── GoneError           it was erased, or has expired
│   └── ConflictError       the id stands for another photo
├── FailedError             the service broke over this photo
├── BusyError               the queue or a quota is full: again after `retry_after` seconds
└── UnavailableError        no answer, or none that makes sense: again later
"""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, TypeAlias

import httpx

Options: TypeAlias = Mapping[str, str | int | float]

MAX_WAIT = 25.0
"""Seconds for which one request is kept waiting; proxies cut off longer ones."""
MIN_DELAY, MAX_DELAY = 0.5, 15.0
_ID = re.compile(r"[0-9a-f]{32}")
_TRANSIENT = {408, 425, 500, 502, 503, 504, 507}
"""Statuses that pass."""


class ClientError(Exception):
    """What went wrong, with the problem's stable code and the service's own sentence (RFC 9457)."""

    def __init__(self, detail: str, code: str = "", status: int = 0, retry_after: float = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.retry_after = retry_after


class RefusedError(ClientError):
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


class FailedError(ClientError):
    """The service broke over this photo, more than once."""


class BusyError(ClientError):
    """There is no room, now or for this client; `retry_after` says when there may be."""


class UnavailableError(ClientError):
    """The service does not answer, or says that it cannot work."""


_OF_CODES: dict[str, type[ClientError]] = {
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
_OF_STATUSES: dict[int, type[ClientError]] = {
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: PhotoRefusedError,
    429: BusyError,
}


@dataclass(frozen=True, slots=True)
class Job:
    """One colorization, as the service last said."""

    id: str
    status: str
    """queued, running, succeeded, failed or canceled."""
    secret: str
    """Lets its holder erase the job; "" where it was not said."""
    expires_at: datetime
    net: str
    """The network that colored it; "" before."""
    width: int
    height: int
    """Of the result, in pixels; 0 before."""
    artifacts: tuple[str, ...]
    """Names of what was made beside the result."""
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


class Client:
    """Speaks to one service. Every method raises ClientError and nothing else, but for wrong arguments."""

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

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def create(
        self, photo: bytes, id: str, options: Options | None = None, wait: float = 0, secret: str = ""
    ) -> Job:
        """Have a photo colored under this id; once, however often this is called. `wait`: for its end, seconds.

        `secret`: 32 to 128 random letters and digits by which the job is erased, where the client has no API key, which does that
        too. Without either only the first answer tells a secret: it is lost with that.
        """
        if not _ID.fullmatch(id):
            raise ValueError(f"{id!r} is no id: 32 lowercase hexadecimal digits")
        held = min(max(wait, 0.0), MAX_WAIT)
        own = {"Authorization": f"Bearer {secret}"} if secret and not self.has_key else {}
        response = self._send(
            "PUT",
            f"/v1/colorizations/{id}",
            content=photo,
            params={name: str(value) for name, value in (options or {}).items()},
            headers={"Content-Type": "application/octet-stream", "Prefer": f"wait={int(held)}", **own},
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


def _error(response: httpx.Response) -> ClientError:
    """What a refusal says."""
    document = _json(response)
    code = str(document.get("code", ""))
    detail = str(document.get("detail") or f"The service answered {response.status_code}.")
    kind = _OF_CODES.get(code)
    if kind is None and code.startswith("photo_"):
        kind = PhotoRefusedError
    if kind is None and response.status_code in _TRANSIENT:
        kind = UnavailableError
    kind = kind or _OF_STATUSES.get(response.status_code, RefusedError)
    return kind(detail, code, response.status_code, _retry_after(response))


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
            artifacts=tuple(made["name"] for made in document["artifacts"]),
            error=error.get("code", ""),
            detail=error.get("detail", ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise UnavailableError("The answer is no job: is this the service's address?") from wrong
