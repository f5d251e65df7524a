"""Everything that the service refuses or fails at: one table from a stable code to status, title, advice and headers.

`Problem` goes over the wire as application/problem+json (RFC 9457, api/problems.py). Two errors do not: `SettingsError` is for
the operator, `LeaseLost` is between a worker and the job record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.image_headers import IN_WORDS

EX_CONFIG = 78  # sysexits.h: a process that ends so is not started again, the operator must act
EX_SOFTWARE = 70  # sysexits.h: a process that ends itself, to be started again


class ServiceError(Exception):
    """Root of what the service raises on purpose."""


class SettingsError(ServiceError):
    """A setting is missing or wrong; the message says which and what to set."""


class LeaseLost(ServiceError):  # noqa: N818  (a turn of events, as StopIteration)
    """The job was taken over, erased or expired while this attempt worked on it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of one code have in common: the contract with clients."""

    status: int
    title: str
    advice: str
    """The detail when nothing more is known: what to do."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further response headers."""


_CLOSE = {"Connection": "close"}  # the rest of the body is not read (RFC 9110, 15.5.9 and 15.5.14)
_SOON = {"Retry-After": "5"}

KINDS: Mapping[str, Kind] = {
    # the request was wrong
    "request_invalid": Kind(
        400,
        "The request cannot be read",
        "Send well-formed HTTP/1.1: one Host, and at most one Content-Length, of plain digits.",
        headers=_CLOSE,
    ),
    "header_too_large": Kind(
        431, "The request's header is too large", "Send fewer or shorter header fields.", headers=_CLOSE
    ),
    "header_timeout": Kind(
        408, "The request's header took too long", "Send the request again, without a pause.", headers=_CLOSE
    ),
    "host_unknown": Kind(
        421,
        "This server does not go by that name",
        "Use the address that whoever runs this service gave out. To have it go by this name too, list it in AUTOCHROME_HOSTS, or set "
        "AUTOCHROME_PUBLIC_URL.",
    ),
    "cross_site": Kind(
        403,
        "Another site's page may not do this",
        "Send it from this server's own page, from a program, or from a site that the operator lists in AUTOCHROME_CORS_ORIGINS.",
    ),
    "body_too_large": Kind(
        413,
        "The upload is too large",
        "Send a smaller file, for example a JPEG of lower quality or fewer pixels.",
        headers=_CLOSE,
    ),
    "upload_timeout": Kind(
        408,
        "The upload was too slow",
        "Send the photo again over a better connection, or a smaller copy of it.",
        headers=_CLOSE,
    ),
    "unsupported_media_type": Kind(
        415,
        "This kind of body is not understood",
        "Send multipart/form-data with a file field `photo`, or the photo itself as an image/* body.",
    ),
    "form_invalid": Kind(
        400,
        "The form cannot be read",
        "Send well-formed multipart/form-data with one file field named `photo`.",
    ),
    "photo_missing": Kind(
        422, "There is no photo in the request", "Attach the photo as a file in the form field `photo`."
    ),
    "option_unknown": Kind(
        422, "There is no such option", "Remove the option, or see /openapi.json for those that exist."
    ),
    "option_invalid": Kind(
        422, "An option has a value that cannot be used", "See /openapi.json for the range of each option."
    ),
    "secret_missing": Kind(
        401,
        "This needs the job's secret",
        "Send the secret that came with the answer to POST: `Authorization: Bearer <secret>`, or `secret` beside "
        "`revise`.",
        headers={"WWW-Authenticate": "Bearer"},
    ),
    "secret_wrong": Kind(
        403,
        "The secret is not this job's",
        "Send the secret that came with the answer to the POST that made this very job.",
    ),
    "id_invalid": Kind(
        422,
        "This is not an id",
        "An id of your own making is 32 lowercase hexadecimal digits: 128 random bits.",
    ),
    "id_conflict": Kind(
        409,
        "The id is taken by another job",
        "It was made from another photo, other options, or by somebody else. Choose a new random id.",
    ),
    "in_flight": Kind(
        409,
        "The same request is still being received",
        "Wait for the answer to the first one, or repeat this one in a few seconds.",
        headers={"Retry-After": "2"},
    ),
    "idempotency_key_invalid": Kind(
        400,
        "The Idempotency-Key cannot be used",
        "Send one key of 1 to 255 visible ASCII characters, best a random UUID.",
    ),
    "idempotency_mismatch": Kind(
        422,
        "The Idempotency-Key was used for something else",
        "A key stands for one photo with its options. Send a new random key with this one.",
    ),
    "key_missing": Kind(
        401,
        "This needs an API key",
        "Ask whoever runs this service for a key, and send it: `Authorization: Bearer ac_…`.",
        headers={"WWW-Authenticate": "Bearer"},
    ),
    "key_invalid": Kind(
        401,
        "The API key is not one of this service's",
        "Check that it is whole. Else it has been revoked: ask whoever runs this service for another.",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    ),  # RFC 6750, 3.1
    "scope_missing": Kind(
        403,
        "The API key is not made for this",
        "Ask whoever runs this service for a key with the scope that this needs.",
    ),
    "rate_limited": Kind(
        429,
        "Too many megapixels in too short a time",
        "Send it again after as many seconds as the header Retry-After says.",
    ),
    "storage_limited": Kind(
        429,
        "You keep as much here as one may",
        "Erase photos that you no longer need, or wait until they expire, and send it again.",
        headers={"Retry-After": "60"},
    ),
    "too_many_at_once": Kind(
        429,
        "Too much at once from one sender",
        "Wait until your other uploads have ended, then send it again.",
        headers=_SOON,
    ),
    "batch_too_large": Kind(
        413, "The batch has too many photos", "Send it as several smaller batches.", headers=_CLOSE
    ),
    "archive_invalid": Kind(
        422,
        "The ZIP cannot be opened",
        "It is cut off, broken or no ZIP at all. Pack the photos again and send the whole file.",
    ),
    "json_invalid": Kind(
        400,
        "The JSON cannot be read",
        "Send one JSON object in UTF-8, with the fields that /openapi.json names.",
    ),
    "url_disabled": Kind(
        403,
        "Photos are not fetched from addresses here",
        "Send the photo itself, or ask whoever runs this service to list hosts in AUTOCHROME_URL_HOSTS.",
    ),
    "url_not_allowed": Kind(
        403,
        "That address is not called upon from here",
        "Only http and https, ports 80 and 443, and public hosts on this server's list are allowed.",
    ),
    "url_failed": Kind(
        422,
        "No photo could be fetched from that address",
        "Open the address in a browser: it must show the picture itself, without signing in.",
    ),
    "presign_disabled": Kind(
        403,
        "Photos are not written to the store directly here",
        "Send the photo itself to POST /v1/colorizations. Whoever runs this service with a store on S3 may set AUTOCHROME_PRESIGN.",
    ),
    "upload_unknown": Kind(
        404,
        "There is no such upload",
        "Its time is up, it has become a job, or it is another key's. Ask for a new one: POST /v1/uploads.",
    ),
    "upload_mismatch": Kind(
        422,
        "The photo is not as long as was announced",
        "Ask for an upload of as many bytes as the photo has, and write all of it to its URL.",
    ),
    "webhook_disabled": Kind(
        403,
        "Webhooks are not enabled here",
        "Ask for the job instead, or ask whoever runs this service to list hosts in AUTOCHROME_WEBHOOK_HOSTS.",
    ),
    "not_found": Kind(
        404,
        "There is nothing here",
        "Check the address (ids are 32 hexadecimal digits), or it was erased: send the photo again.",
    ),
    "method_not_allowed": Kind(
        405, "This address does not take that method", "See /openapi.json for the methods of each address."
    ),
    "not_ready": Kind(
        409,
        "The photo is not colored yet",
        "Ask for the job until its status is `succeeded`, then for the result.",
        headers={"Retry-After": "1"},
    ),
    "expired": Kind(
        410,
        "The photo has been erased",
        "Photos and results are kept for a limited time. Send the photo again.",
    ),
    "round_over": Kind(
        410,
        "This round is over",
        "Its game has ended, or its pictures were replaced. Begin a new game.",
    ),
    "canceled": Kind(
        410,
        "The photo was erased at its sender's wish",
        "Send the photo again if you want it colored after all.",
    ),
    # the picture cannot be colored: refused when it comes in, or by the worker after a full decode
    "photo_empty": Kind(
        422, "The photo is empty", "The file has no bytes. Choose the file again and send it once more."
    ),
    "photo_unsupported": Kind(
        415,
        "This is not a photo that can be read",
        f"Send a {IN_WORDS} file; save others as JPEG first.",
    ),
    "photo_damaged": Kind(
        422,
        "The photo is damaged",
        "The file is cut off or broken. Save or scan it again and send the whole file.",
    ),
    "photo_animated": Kind(
        422,
        "The file has more than one picture",
        "Send one still picture: save the frame or page that you want as a file of its own.",
    ),
    "photo_too_large": Kind(422, "The photo has too many pixels", "Scale the photo down and send it again."),
    "photo_too_small": Kind(422, "The photo is too small or too narrow", "Send a larger photo."),
    "photo_in_color": Kind(
        422,
        "The photo is in color already",
        "Send it with `if_color=colorize` to have new colors guessed, or `if_color=keep` to get it back as it is.",
    ),
    "option_unavailable": Kind(
        422,
        "The network of this service cannot do that",
        "Leave the option out, or ask whoever runs this service for another network.",
    ),
    "place_outside": Kind(
        422,
        "The place lies outside of the photograph",
        "The page around it stays gray. Choose a place on the photograph itself: x and y are 0 to 1 across and down the whole picture.",
    ),
    # one member of a ZIP cannot be unpacked; the others go on
    "member_encrypted": Kind(
        422, "The photo is locked with a password", "Pack the photos into a ZIP without a password."
    ),
    "member_link": Kind(
        422, "This is a link, not a photo", "Pack the photo itself into the ZIP, not a link to it."
    ),
    "member_unsupported": Kind(
        422,
        "The photo is packed in a way that is not understood",
        "Pack the photos with Deflate, as nearly every program does, or without compression.",
    ),
    "member_bomb": Kind(
        422,
        "The file would unpack to far more than it should",
        "No photo shrinks so much in a ZIP. Send the photo itself.",
    ),
    "member_damaged": Kind(
        422, "The photo is damaged inside the ZIP", "Pack it again, or send the photo itself."
    ),
    # not the client's fault; trying again may help
    "connections_busy": Kind(
        503, "Too many connections are open", "Try again in a few seconds.", headers={**_SOON, **_CLOSE}
    ),
    "uploads_busy": Kind(
        503, "Too many photos are being received at once", "Try again in a few seconds.", headers=_SOON
    ),
    "fetches_busy": Kind(
        503,
        "Too many photos are being fetched at once",
        "Try again in a few seconds, or send the photo itself.",
        headers=_SOON,
    ),
    "queue_full": Kind(
        503,
        "Too many photos are waiting",
        "Send it again after as many seconds as the header Retry-After says.",
        headers=_SOON,
    ),
    "queue_unavailable": Kind(503, "The queue does not answer", "Try again in a few seconds.", headers=_SOON),
    "store_full": Kind(
        507,
        "There is no room for more photos",
        "Room comes as earlier photos are erased: send it again after as many seconds as the header Retry-After says. "
        "Photos that were accepted are safe, and can be fetched and erased.",
        headers={"Retry-After": "60"},
    ),
    "store_unavailable": Kind(
        503, "The photo store does not answer", "Try again in a few seconds.", headers=_SOON
    ),
    "workers_unavailable": Kind(
        503,
        "No worker is ready",
        "Photos are accepted and wait. Start a worker, or wait for one that is starting.",
        headers=_SOON,
    ),
    "stopping": Kind(
        503,
        "This process is about to stop",
        "It still answers for a moment. Send new requests to another one.",
        headers=_SOON,
    ),
    "worker_died": Kind(
        500,
        "The worker died over this photo",
        "It was tried three times. Please report it; a smaller copy of the photo may work.",
    ),
    "out_of_memory": Kind(
        500,
        "The photo did not fit into memory",
        "It was tried more than once. Send a smaller copy of the photo, or try again later.",
    ),
    "photo_lost": Kind(
        500,
        "The photo was lost",
        "It is not in our store any more, so that it cannot be colored. Send it again as a new one.",
    ),
    "internal_error": Kind(
        500, "Something is broken on our side", "It was not your photo's fault. Please report it."
    ),
}


QUEUE_MEMORY_FULL = "The memory of the queue is full."


class Problem(ServiceError):  # noqa: N818  (RFC 9457 calls it so)
    """An error that a client sees. KeyError for a code that is not in the table."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        what: str = "",
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
        members: Mapping[str, str] | None = None,
    ) -> None:
        """`detail`: what is wrong in this case, and what to do. Without it, `what` is wrong, followed by the advice of its kind.
        `retry_after`: seconds until trying again is likely to help. `members`: what its document says besides."""
        self.code = code
        self.members: Mapping[str, str] = members or {}
        self.kind = KINDS[code]
        self.detail = detail or f"{what} {self.kind.advice}".lstrip()
        waiting = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.headers: Mapping[str, str] = {**self.kind.headers, **(headers or {}), **waiting}
        super().__init__(f"{code}: {self.detail}")

    @property
    def is_ours(self) -> bool:
        """Not the client's fault; trying again may help."""
        return self.kind.status >= 500


class StoreUnavailable(Problem):
    """The store does not answer, or has no room: worth a class, as those who clean up go on without it."""

    def __init__(self, detail: str | None = None, *, what: str = "", code: str = "store_unavailable") -> None:
        super().__init__(code, detail, what=what)


PHOTO_CODES = (
    "photo_empty",
    "photo_unsupported",
    "photo_damaged",
    "photo_animated",
    "photo_too_large",
    "photo_too_small",
    "photo_in_color",
    "option_unavailable",
    "place_outside",
)
"""Refused when the photo comes in, or by the worker after a full decode."""
OUR_CODES = ("worker_died", "out_of_memory", "photo_lost", "internal_error")
"""Of jobs that fail by no fault of their photo."""


def failure(
    code: str | None,
    detail: str | None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, str] | None = None,
) -> Problem:
    """Why a job failed. Codes that this version does not know are internal errors: a newer worker must not break an older API."""
    known = code if code and code in KINDS else "internal_error"
    return Problem(known, detail, headers=headers, members=members)


def first_line(error: BaseException | None) -> str:
    """What went wrong, without the dump of itself that a library may put below."""
    return str(error).partition("\n")[0]
