"""Settings, read from the environment with the prefix AUTOCHROME_; none is needed for `python -m service`."""

from __future__ import annotations

import os
from base64 import b64decode
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.image_headers import MAX_ASPECT, MAX_BYTES, MAX_PIXELS, MAX_SIDE, Limits
from service.errors import SettingsError
from service.outbound import Allow

PREFIX = "AUTOCHROME_"
ELSEWHERE = [
    "AUTOCHROME_CACHE_DIR",
    "AUTOCHROME_API_MEM_LIMIT",
    "AUTOCHROME_BIND",
    "AUTOCHROME_GPU_LOCK",
    "AUTOCHROME_ISOLATED",
    "AUTOCHROME_REDIS_PASSWORD",
    "AUTOCHROME_WORKER_CPUS",
    "AUTOCHROME_WORKER_MEM_LIMIT",
]
"""Read by others: the first by the model, the others by docker-compose.yml."""
REPLACED = {"AUTOCHROME_WORKER_MEGAPIXELS": "AUTOCHROME_WORKER_MEMORY"}
"""Settings of earlier versions, and what has their place."""
OPEN_QUOTA = 600
"""Megapixels a minute from one address: about a photo of a camera each second."""
OPEN_BYTES, OPEN_RECORDS = 8 * 2**30, 32 * 2**20
"""Bytes of the store and of records that one address may hold: some 2,000 photos of a camera at a time, and 7,000 photos a day."""
FORM_ALLOWANCE = 64 * 2**10
"""Bytes that a form may have beside its photo."""
LogFormat = Literal["text", "json"]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MIN_SIDE = Limits().min_side


def default_state_dir() -> Path:
    """`$XDG_STATE_HOME/autochrome`, else `~/.local/state/autochrome` (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "autochrome"


def _words(value: object) -> object:
    """A list as an operator writes one: words with commas or spaces between."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


def _signing_secrets(values: tuple[str, ...]) -> tuple[str, ...]:
    """Secrets as Standard Webhooks writes them. Raises ValueError, which does not repeat them."""
    for value in values:
        try:
            length = len(b64decode(value.removeprefix("whsec_"), validate=True))
        except ValueError:
            length = 0
        if not value.startswith("whsec_") or not 24 <= length <= 64:
            raise ValueError("each must be whsec_ and the base64 of 24 to 64 random bytes")
    return values


def _root_path(value: object) -> object:
    """`color/` → `/color`: one slash before, none behind."""
    return f"/{value.strip('/')}".rstrip("/") if isinstance(value, str) else value


class Settings(BaseSettings):
    """One value for each thing that an operator may want to change. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    public_url: str | None = None
    """Where people reach the service from outside, no slash at the end; put before the links in answers."""
    root_path: Annotated[str, BeforeValidator(_root_path)] = ""
    """The path under which a proxy shows the service, such as /color; whether the proxy leaves it out or not."""
    trusted_proxies: Words = ()
    """Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; `*`: all."""
    cors_origins: Words = ()
    """Other sites whose pages may use the API from a browser, such as https://photos.example; `*`: all."""
    drain: Annotated[float, Field(ge=0)] = 0.0
    """For how long an API that is told to stop still takes requests, while `/readyz` refuses, so that a proxy sends no more."""
    grace: Annotated[int, Field(ge=0)] = 5
    """Then open requests have so long to end."""
    hosts: Words = ()
    """Names by which the service is asked beside `public_url`'s, such as photos.example, or `*.photos.example` for what lies below it;
    `*`: any. Addresses, names without a dot, localhost and this machine's own name always are."""

    connections: Annotated[int, Field(ge=1)] | None = None
    """Connections to the API that may be open at once. Not set: 512, and fewer where the process may have few files open."""
    connections_per_address: Annotated[int, Field(ge=1)] = 128
    """Of these, from one address; of IPv6 from one /64. This machine and `trusted_proxies` may have all."""
    spool_bytes: Annotated[int, Field(ge=1)] | None = None
    """Of bodies that the API has in its hands at once, which lie in the folder for temporary files; a quarter of it may be one
    sender's. Not set: twice the largest body."""

    state_dir: Annotated[Path, BeforeValidator(os.path.expanduser)] = Field(default_factory=default_state_dir)
    redis_url: str | None = None
    """redis://, rediss:// or unix://; behind Sentinels sentinel://:password@host:26379,host:26379/master-name/0. Without it
    `python -m service` starts a server of its own."""
    broker_url: str | None = None
    """amqp:// or amqps:// of RabbitMQ, or a Redis, written as above; by default the same Redis."""
    confirm_replicas: Annotated[int, Field(ge=0, le=9)] | None = None
    """Replicas of Redis that must have a job before it is accepted, so that no failover loses it. Not set: 1 behind Sentinels, else 0."""
    confirm_timeout: Annotated[float, Field(gt=0, le=5)] = 1.0
    """How long replicas have for that; then the photo is refused with 503 and may be sent again."""
    store_url: str | None = None
    """file:///folder or s3://bucket/prefix; by default a folder in `state_dir`."""
    presign: bool = False
    """Whether clients read results from S3 itself and, with a key, write photos there, by URLs that are signed for a short time."""
    presign_seconds: Annotated[float, Field(ge=1, le=7 * 24 * 3600)] = 300.0
    """For how long such a URL is good."""

    net: str = "lite"
    device: str = "auto"
    """As PyTorch names it; auto: a GPU where there is one, else the CPU. Several with commas between, such as
    cuda:0,cuda:1: `python -m service` starts a worker for each."""
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = None
    """Photos in one worker at once: while some wait for the store or the net, others are opened and finished. Not set: one more than there
    are cores on a CPU, 32 on a GPU."""
    worker_memory: Annotated[ByteSize, Field(gt=0)] | None = None
    """Bytes that the photos in one worker may take at once, or `2GiB`; one that takes more is taken in when it is empty. Not set: half
    of the memory that the machine or the container has."""
    batch: Annotated[int, Field(ge=1, le=256)] | None = None
    """Photos that go through the net together on a GPU, at most. Not set: 16. On a CPU each goes by itself."""
    stall: Annotated[float, Field(gt=0)] = 60.0
    """A worker that takes nothing for so long, although photos wait, ends and is started again."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Where a worker answers `/metrics` with histograms of its own, on `host`; each further one of this machine on the next port."""

    anonymous: bool = True
    """Whether photos are taken in from whoever has no API key."""
    quota_megapixels_per_minute: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """What one key, or one address without a key, may send in any minute; 0: no limit. Not set: no limit, but
    for addresses without a key, where the service listens to others than this machine: OPEN_QUOTA."""
    caller_bytes: Annotated[int, Field(ge=0)] | None = None
    """What photos and results of one key, or of one address without a key, may take of the store at a time; 0: no limit. Not set: no limit,
    but for addresses without a key, where the service listens to others than this machine: OPEN_BYTES."""
    caller_records: Annotated[int, Field(ge=0)] | None = None
    """The same of bytes of records in Redis: OPEN_RECORDS."""
    log_format: LogFormat = "text"

    max_bytes: Annotated[int, Field(ge=1)] = MAX_BYTES
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS
    max_side: Annotated[int, Field(ge=1)] = MAX_SIDE
    min_side: Annotated[int, Field(ge=1)] = MIN_SIDE
    max_aspect: Annotated[float, Field(ge=1)] = MAX_ASPECT
    upload_timeout: Annotated[float, Field(gt=0)] = 300.0
    """A body that takes longer to arrive is cut off."""
    upload_rate: Annotated[int, Field(ge=0)] = 4096
    """Bytes a second that a body must have over any fifteen seconds, or be cut off; and so must an answer that is read. 0: any pace will
    do."""

    batch_files: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Photos in one batch."""
    batch_bytes: Annotated[int, Field(ge=1)] = 2**30
    """Of a whole batch as it is sent; and of a ZIP once more when it is unpacked."""
    batch_timeout: Annotated[float, Field(gt=0)] = 3600.0
    """A batch that takes longer to arrive is cut off; it can be gone on with."""
    batch_backlog: Annotated[int, Field(ge=1)] = 10_000
    """Photos of all batches that may wait for their turn to be queued. When there are more, no batch is begun."""

    url_hosts: Annotated[Allow, NoDecode, BeforeValidator(Allow.of)] = Allow()
    """Hosts from which photos may be fetched: names, `*.name`, `*` (any public one), or trusted origins with scheme
    and port, such as http://10.0.0.7:8080, which may lie on a private network. None: color by URL is off."""
    webhook_hosts: Annotated[Allow, NoDecode, BeforeValidator(Allow.of)] = Allow()
    """Hosts that may be told how a job ended, written as in `url_hosts`. None: webhooks are off."""
    webhook_secret: Annotated[Words, AfterValidator(_signing_secrets)] = ()
    """whsec_ and the base64 of 24 to 64 random bytes, by which webhooks are signed; several: each signs, so
    that an old one can be replaced."""

    clap_dir: Annotated[Path, BeforeValidator(os.path.expanduser)] | None = None
    """Pairs of `python -m model evaluate realism`, for the game at /clap. Not set: a small free set."""

    queue_jobs: Annotated[int, Field(ge=1)] = 1000
    """Photos that may wait. One more is refused with 503."""
    queue_megapixels: Annotated[float, Field(gt=0)] = 5000.0
    """Megapixels that may wait, all photos together."""
    store_bytes: Annotated[int, Field(ge=0)] = 100 * 2**30
    """Photos, results and room for those to come, all together; more is refused with 507. 0: no limit."""
    free_bytes: Annotated[int, Field(ge=0)] | None = None
    """What photos leave free of the disk of a store that is a folder. Not set: a tenth of it, 32 MiB to 1 GiB."""
    valkey_bytes: Annotated[int, Field(ge=4 * 2**20)] | None = None
    """Memory of the embedded Valkey. Not set: an eighth of the machine's, 64 MiB to 1 GiB."""
    log_rewrite: Annotated[float, Field(ge=0)] = 300.0
    """How often at most Redis writes its append-only file anew after something was erased, which it holds until then. 0: never."""
    keep_for: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """From a job's making until its photo and result are erased."""
    max_keep_for: Annotated[float, Field(gt=0)] = 7 * 24 * 3600.0
    """The longest time that a client may ask for."""
    lease: Annotated[float, Field(gt=0)] = 8.0
    """How long one stage of a small photo may be silent before the job is given to another worker."""
    lease_per_megapixel: Annotated[float, Field(ge=0)] = 1.0
    deadline: Annotated[float, Field(gt=0)] = 300.0
    """A job that takes longer ends its worker's process, which is started again."""

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> Settings:
        if self.webhook_hosts and not self.webhook_secret:
            raise ValueError("AUTOCHROME_WEBHOOK_HOSTS needs AUTOCHROME_WEBHOOK_SECRET: whsec_ and base64")
        return self

    @model_validator(mode="after")
    def _presigned_urls_are_of_s3(self) -> Settings:
        if self.presign and not self.effective_store_url.startswith("s3://"):
            raise ValueError(
                "AUTOCHROME_PRESIGN needs a store on S3: AUTOCHROME_STORE_URL=s3://bucket/prefix"
            )
        return self

    @model_validator(mode="after")
    def _largest_body_fits(self) -> Settings:
        needed = self.largest_body + self.max_bytes  # a ZIP, and beside it the photo that is being unpacked
        if self.effective_spool_bytes < needed:
            raise ValueError(
                f"AUTOCHROME_SPOOL_BYTES is smaller than a ZIP and a photo of it may be, which are {needed} by"
                " AUTOCHROME_BATCH_BYTES and AUTOCHROME_MAX_BYTES"
            )
        return self

    @property
    def largest_body(self) -> int:
        return max(self.max_bytes, self.batch_bytes) + FORM_ALLOWANCE

    @property
    def effective_spool_bytes(self) -> int:
        return self.spool_bytes or 2 * self.largest_body

    @property
    def limits(self) -> Limits:
        """Which photos are taken."""
        return Limits(self.max_bytes, self.max_pixels, self.max_side, self.min_side, self.max_aspect)

    def quota(self, anonymous: bool) -> int | None:
        """Megapixels a minute that one key, or one address without a key, may send; None: no limit."""
        if self.quota_megapixels_per_minute is not None:
            return self.quota_megapixels_per_minute or None
        return OPEN_QUOTA if anonymous and self.host not in LOOPBACK else None

    def allowance(self, anonymous: bool) -> tuple[int, int]:
        """Bytes of the store and of records that one key, or one address without a key, may hold; 0: no limit."""
        is_open = anonymous and self.host not in LOOPBACK
        store, records = (OPEN_BYTES, OPEN_RECORDS) if is_open else (0, 0)
        return (
            store if self.caller_bytes is None else self.caller_bytes,
            records if self.caller_records is None else self.caller_records,
        )

    @property
    def is_behind_proxy(self) -> bool:
        """Whether there is a sign that requests from this machine may be passed on for others."""
        return bool(self.public_url or self.root_path or self.trusted_proxies)

    @property
    def devices(self) -> tuple[str, ...]:
        """One for each worker on this machine."""
        return tuple(name.strip() for name in self.device.split(",") if name.strip()) or ("auto",)

    @property
    def celery_broker_url(self) -> str:
        """The broker as Celery wants it; a unix:// Redis is written redis+socket:// there."""
        url = self.broker_url or self.required_redis_url
        if url.startswith("unix://"):
            path, _, query = url.removeprefix("unix://").partition("?")
            database = dict(pair.partition("=")[::2] for pair in query.split("&")).get("db", "0")
            return f"redis+socket://{path}?virtual_host={database}"
        return url

    @property
    def confirmations(self) -> int:
        """`confirm_replicas`, or what it is where it is not set."""
        if self.confirm_replicas is not None:
            return self.confirm_replicas
        return int(self.required_redis_url.startswith("sentinel://"))

    @property
    def required_redis_url(self) -> str:
        """`redis_url`; raises SettingsError where there is none."""
        if self.redis_url is None:
            raise SettingsError(
                "AUTOCHROME_REDIS_URL is not set. Set it (redis://host:6379/0 or unix:///path/to/socket), "
                "or run `python -m service`, which brings a server of its own."
            )
        return self.redis_url

    @property
    def effective_store_url(self) -> str:
        """`store_url`, or the folder `store` in `state_dir`."""
        return self.store_url or "file://" + quote(str(self.state_dir.absolute() / "store"))


def unknown() -> dict[str, str | None]:
    """Variables that look like settings and are none, each with the one that was probably meant."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields] + ELSEWHERE
    return {
        name: REPLACED.get(name.upper()) or next(iter(get_close_matches(name.upper(), known, n=1)), None)
        for name in os.environ
        if name.upper().startswith(PREFIX) and name.upper() not in known
    }


def read() -> Settings:
    """Settings from the environment. Raises SettingsError that names each variable that cannot be used."""
    try:
        return Settings()
    except ValidationError as invalid:
        raise SettingsError(" ".join(_fault(each) for each in invalid.errors(include_url=False))) from None


def _fault(fault: ErrorDetails) -> str:
    """One sentence, which repeats no secret."""
    what = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:  # it lies between several
        return f"{what}."
    name = f"{PREFIX}{str(fault['loc'][0]).upper()}"
    return f"{name}: {what}." if name.endswith("_SECRET") else f"{name}={fault['input']!r}: {what}."
