"""Everything that the service may refuse or fail at, each with a stable code and a sentence for the person.

ServiceError
├── SettingsError              the operator must change a setting; the process ends with EX_CONFIG
├── LeaseLost                  this attempt is no longer the job's: drop the work, touch nothing
└── Problem                    goes over the wire as application/problem+json (RFC 9457)
    ├── RequestProblem         the request was wrong
    │   ├── BodyTooLarge · UploadTimeout · UnsupportedMedia · FormInvalid · PhotoMissing
    │   ├── OptionUnknown · OptionInvalid
    │   ├── SecretMissing · SecretWrong
    │   ├── KeyMissing · KeyInvalid · ScopeMissing · RateLimited
    │   ├── IdInvalid · IdConflict · InFlight · IdempotencyKeyInvalid · IdempotencyMismatch
    │   ├── BatchTooLarge · ArchiveInvalid
    │   ├── JsonInvalid · UrlDisabled · UrlNotAllowed · UrlFailed · WebhookDisabled
    │   └── NotFound · NotReady · Expired · Canceled · MethodNotAllowed
    ├── PhotoProblem           the picture cannot be colored; the codes are those of model.photo.PhotoError
    │   └── PhotoEmpty · PhotoUnsupported · PhotoDamaged · PhotoAnimated · PhotoTooLarge · PhotoTooSmall
    ├── MemberProblem          one member of a ZIP cannot be unpacked; the others are not held up by it
    │   └── MemberEncrypted · MemberLink · MemberUnsupported · MemberBomb · MemberDamaged
    └── ServerProblem          our fault; trying again may help
        ├── FetchesBusy · QueueFull · QueueUnavailable · StoreUnavailable · WorkersUnavailable
        └── WorkerDied · OutOfMemory · PhotoLost · InternalError
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

EX_CONFIG = 78  # sysexits.h: a process that ends so is not started again, the operator must act
EX_SOFTWARE = 70  # sysexits.h: a process that ends itself, to be started again


class ServiceError(Exception):
    """Root of what the service raises on purpose."""


class SettingsError(ServiceError):
    """A setting is missing or wrong; the message says which and what to set."""


class LeaseLost(ServiceError):  # noqa: N818  (a turn of events, as StopIteration)
    """The job was taken over, erased or expired while this attempt worked on it."""


class Problem(ServiceError):  # noqa: N818  (RFC 9457 calls it so)
    """An error that a client sees: the class attributes are the contract, `detail` is about this one case."""

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    advice: ClassVar[str]
    """The detail when nothing more is known: what to do."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.advice
        super().__init__(self.detail)

    @property
    def headers(self) -> dict[str, str]:
        """Further response headers that this problem asks for."""
        return {}


class RequestProblem(Problem):
    """The request cannot be served as it was sent."""


class BodyTooLarge(RequestProblem):
    code, status = "body_too_large", 413
    title = "The upload is too large"
    advice = "Send a smaller file, for example a JPEG of lower quality or fewer pixels."

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # else the server would go on reading what is still sent


class UploadTimeout(RequestProblem):
    code, status = "upload_timeout", 408
    title = "The upload was too slow"
    advice = "Send the photo again over a better connection, or a smaller copy of it."

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # RFC 9110, 15.5.9


class UnsupportedMedia(RequestProblem):
    code, status = "unsupported_media_type", 415
    title = "This kind of body is not understood"
    advice = "Send multipart/form-data with a file field `photo`, or the photo itself as an image/* body."


class FormInvalid(RequestProblem):
    code, status = "form_invalid", 400
    title = "The form cannot be read"
    advice = "Send well-formed multipart/form-data with one file field named `photo`."


class PhotoMissing(RequestProblem):
    code, status = "photo_missing", 422
    title = "There is no photo in the request"
    advice = "Attach the photo as a file in the form field `photo`."


class OptionUnknown(RequestProblem):
    code, status = "option_unknown", 422
    title = "There is no such option"
    advice = "Remove the option, or see /openapi.json for those that exist."


class OptionInvalid(RequestProblem):
    code, status = "option_invalid", 422
    title = "An option has a value that cannot be used"
    advice = "See /openapi.json for the range of each option."


class SecretMissing(RequestProblem):
    code, status = "secret_missing", 401
    title = "This needs the job's secret"
    advice = "Send the secret that came with the answer to POST: `Authorization: Bearer <secret>`."

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class SecretWrong(RequestProblem):
    code, status = "secret_wrong", 403
    title = "The secret is not this job's"
    advice = "Send the secret that came with the answer to the POST that made this very job."


class IdInvalid(RequestProblem):
    code, status = "id_invalid", 422
    title = "This is not an id"
    advice = "An id of your own making is 32 lowercase hexadecimal digits: 128 random bits."


class IdConflict(RequestProblem):
    """409: the state of the target resource is in the way (RFC 9110, 15.5.10), and a new id resolves it."""

    code, status = "id_conflict", 409
    title = "The id is taken by another job"
    advice = "It was made from another photo, other options, or by somebody else. Choose a new random id."


class InFlight(RequestProblem):
    """409, as the draft of Idempotency-Key has it (draft-ietf-httpapi-idempotency-key-header-07, 2.7)."""

    code, status = "in_flight", 409
    title = "The same request is still being received"
    advice = "Wait for the answer to the first one, or repeat this one in a few seconds."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "2"}


class IdempotencyKeyInvalid(RequestProblem):
    code, status = "idempotency_key_invalid", 400
    title = "The Idempotency-Key cannot be used"
    advice = "Send one key of 1 to 255 visible ASCII characters, best a random UUID."


class IdempotencyMismatch(RequestProblem):
    """422, as the draft of Idempotency-Key has it (section 2.7)."""

    code, status = "idempotency_mismatch", 422
    title = "The Idempotency-Key was used for something else"
    advice = "A key stands for one photo with its options. Send a new random key with this one."


class KeyMissing(RequestProblem):
    code, status = "key_missing", 401
    title = "This needs an API key"
    advice = "Ask whoever runs this service for a key, and send it: `Authorization: Bearer ac_…`."

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class KeyInvalid(RequestProblem):
    code, status = "key_invalid", 401
    title = "The API key is not one of this service's"
    advice = "Check that it is whole. Else it has been revoked: ask whoever runs this service for another."

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # RFC 6750, 3.1


class ScopeMissing(RequestProblem):
    code, status = "scope_missing", 403
    title = "The API key is not made for this"
    advice = "Ask whoever runs this service for a key with the scope that this needs."


class RateLimited(RequestProblem):
    code, status = "rate_limited", 429
    title = "Too many megapixels in too short a time"
    advice = "Send it again after as many seconds as the header Retry-After says."

    def __init__(self, detail: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self._headers = dict(headers or {})

    @property
    def headers(self) -> dict[str, str]:
        return self._headers


class BatchTooLarge(RequestProblem):
    code, status = "batch_too_large", 413
    title = "The batch has too many photos"
    advice = "Send it as several smaller batches."

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # there may be much more of it


class ArchiveInvalid(RequestProblem):
    code, status = "archive_invalid", 422
    title = "The ZIP cannot be opened"
    advice = "It is cut off, broken or no ZIP at all. Pack the photos again and send the whole file."


class JsonInvalid(RequestProblem):
    code, status = "json_invalid", 400
    title = "The JSON cannot be read"
    advice = "Send one JSON object in UTF-8 with `url`, and options beside it."


class UrlDisabled(RequestProblem):
    code, status = "url_disabled", 403
    title = "Photos are not fetched from addresses here"
    advice = "Send the photo itself, or ask whoever runs this service to list hosts in AUTOCHROME_URL_HOSTS."


class UrlNotAllowed(RequestProblem):
    code, status = "url_not_allowed", 403
    title = "That address is not called upon from here"
    advice = "Only http and https, ports 80 and 443, and public hosts on this server's list are allowed."


class UrlFailed(RequestProblem):
    """422, not 502: what the request names cannot be used, and this server is well."""

    code, status = "url_failed", 422
    title = "No photo could be fetched from that address"
    advice = "Open the address in a browser: it must show the picture itself, without signing in."


class WebhookDisabled(RequestProblem):
    code, status = "webhook_disabled", 403
    title = "Webhooks are not enabled here"
    advice = (
        "Ask for the job instead, or ask whoever runs this service to list hosts in AUTOCHROME_WEBHOOK_HOSTS."
    )


class NotFound(RequestProblem):
    code, status = "not_found", 404
    title = "There is nothing here"
    advice = "Check the address (ids are 32 hexadecimal digits), or it was erased: send the photo again."


class MethodNotAllowed(RequestProblem):
    code, status = "method_not_allowed", 405
    title = "This address does not take that method"
    advice = "See /openapi.json for the methods of each address."


class NotReady(RequestProblem):
    code, status = "not_ready", 409
    title = "The photo is not colored yet"
    advice = "Ask for the job until its status is `succeeded`, then for the result."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class Expired(RequestProblem):
    code, status = "expired", 410
    title = "The photo has been erased"
    advice = "Photos and results are kept for a limited time. Send the photo again."


class Canceled(RequestProblem):
    code, status = "canceled", 410
    title = "The photo was erased at its sender's wish"
    advice = "Send the photo again if you want it colored after all."


class PhotoProblem(Problem):
    """The picture cannot be colored. Raised at the door by `sniff`, or by the worker after a full decode."""


class PhotoEmpty(PhotoProblem):
    code, status = "photo_empty", 422
    title = "The photo is empty"
    advice = "The file has no bytes. Choose the file again and send it once more."


class PhotoUnsupported(PhotoProblem):
    code, status = "photo_unsupported", 415
    title = "This is not a photo that can be read"
    advice = "Send a JPEG, PNG, WebP, TIFF, GIF, BMP or AVIF; save others, HEIC too, as JPEG first."


class PhotoDamaged(PhotoProblem):
    code, status = "photo_damaged", 422
    title = "The photo is damaged"
    advice = "The file is cut off or broken. Save or scan it again and send the whole file."


class PhotoAnimated(PhotoProblem):
    code, status = "photo_animated", 422
    title = "The file has more than one picture"
    advice = "Send one still picture: save the frame or page that you want as a file of its own."


class PhotoTooLarge(PhotoProblem):
    code, status = "photo_too_large", 422
    title = "The photo has too many pixels"
    advice = "Scale the photo down and send it again."


class PhotoTooSmall(PhotoProblem):
    code, status = "photo_too_small", 422
    title = "The photo is too small or too narrow"
    advice = "Send a larger photo."


class MemberProblem(Problem):
    """One member of a ZIP cannot be unpacked."""


class MemberEncrypted(MemberProblem):
    code, status = "member_encrypted", 422
    title = "The photo is locked with a password"
    advice = "Pack the photos into a ZIP without a password."


class MemberLink(MemberProblem):
    code, status = "member_link", 422
    title = "This is a link, not a photo"
    advice = "Pack the photo itself into the ZIP, not a link to it."


class MemberUnsupported(MemberProblem):
    code, status = "member_unsupported", 422
    title = "The photo is packed in a way that is not understood"
    advice = "Pack the photos with Deflate, as nearly every program does, or without compression."


class MemberBomb(MemberProblem):
    code, status = "member_bomb", 422
    title = "The file would unpack to far more than it should"
    advice = "No photo shrinks so much in a ZIP. Send the photo itself."


class MemberDamaged(MemberProblem):
    code, status = "member_damaged", 422
    title = "The photo is damaged inside the ZIP"
    advice = "Pack it again, or send the photo itself."


class ServerProblem(Problem):
    """Not the client's fault."""


class FetchesBusy(ServerProblem):
    code, status = "fetches_busy", 503
    title = "Too many photos are being fetched at once"
    advice = "Try again in a few seconds, or send the photo itself."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}


class QueueFull(ServerProblem):
    code, status = "queue_full", 503
    title = "Too many photos are waiting"
    advice = "Send it again after as many seconds as the header Retry-After says."

    def __init__(self, retry_after: int = 5, detail: str | None = None) -> None:
        """`retry_after`: seconds until there is likely to be room."""
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class QueueUnavailable(ServerProblem):
    code, status = "queue_unavailable", 503
    title = "The queue does not answer"
    advice = "Try again in a few seconds."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}


class StoreUnavailable(ServerProblem):
    code, status = "store_unavailable", 503
    title = "The photo store does not answer"
    advice = "Try again in a few seconds."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}


class WorkersUnavailable(ServerProblem):
    code, status = "workers_unavailable", 503
    title = "No worker is ready"
    advice = "Photos are accepted and wait. Start a worker, or wait for one that is starting."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}


class WorkerDied(ServerProblem):
    code, status = "worker_died", 500
    title = "The worker died over this photo"
    advice = "It was tried three times. Please report it; a smaller copy of the photo may work."


class OutOfMemory(ServerProblem):
    code, status = "out_of_memory", 500
    title = "The photo did not fit into memory"
    advice = "It was tried more than once. Send a smaller copy of the photo, or try again later."


class PhotoLost(ServerProblem):
    code, status = "photo_lost", 500
    title = "The photo was lost"
    advice = "It is not in our store any more, so that it cannot be colored. Send it again as a new one."


class InternalError(ServerProblem):
    code, status = "internal_error", 500
    title = "Something is broken on our side"
    advice = "It was not your photo's fault. Please report it."


def problems() -> Iterator[type[Problem]]:
    """Every problem with a code, in the order of this file."""
    pending: list[type[Problem]] = list(Problem.__subclasses__())
    while pending:
        kind = pending.pop(0)
        if "code" in vars(kind):
            yield kind
        pending.extend(kind.__subclasses__())


def by_code(code: str) -> type[Problem]:
    """The problem of a code. Unknown ones are `InternalError`: a newer worker must not break an older API."""
    return next((kind for kind in problems() if kind.code == code), InternalError)


def first_line(error: BaseException | None) -> str:
    """What went wrong, without the dump of itself that a library may put below."""
    return str(error).partition("\n")[0]
