"""The exceptions headsplat raises for its users.

HeadsplatError
|-- InputError                  the input is at fault: outcome ``rejected``
|   |-- UnreadableImage         not an image, truncated, or a format we refuse
|   |-- ImageTooLarge           more bytes, pixels or longer sides than the limits
|   |-- ImageTooSmall           fewer pixels than a face needs
|   |-- NoFaceFound             no face that the detector is sure of
|   `-- UnreadableSource        the file or object is missing or no file
|-- UsageError                  options that contradict or cannot be met
|   |-- ModelNotFound           a model folder is missing, incomplete or damaged
|   `-- GraphError              the stages do not fit together
|-- BackendUnavailable          this machine lacks what the request needs
|-- RequestRefused              the online service does not do what it is asked
|   |-- Unauthorized            no key, or one that is unknown or revoked
|   |-- NotFound                no such thing, or it is not the caller's
|   |-- IdempotencyConflict     the key was used before, for another request
|   |-- LeaseLost               the job is no longer the worker's
|   `-- TooManyRequests         later; carries ``retry_after_s``
|       |-- QueueFull           as many jobs wait as may wait
|       |-- TooManyJobs         the caller has as many unfinished jobs as it may have
|       `-- RateLimited         the caller submits faster than it may
|-- DatabaseUnavailable         the database does not answer
`-- ProcessingError             we are at fault: outcome ``failed``
    |-- OutOfMemory             a batch of one did not fit
    |-- DeviceBroken            the GPU fails until the process is started anew
    |-- TimedOut                a stage took too long over a row
    |-- AttemptsExhausted       the worker process died at each attempt
    |-- SourceUnavailable       the file or object cannot be read now
    |   `-- SourceTimeout         it took too long to read
    |-- DestinationUnavailable  the avatar was made and cannot be stored now
    |-- Cancelled               the caller stopped the work
    `-- DeadlineExceeded        the work ran out of time

Each class carries ``code`` (the batch error code) and ``http_status``, the only place where
either is written down, but for ``crashed`` and ``not_reached`` of `jobs.outcomes`.
"""

from typing import ClassVar


class HeadsplatError(Exception):
    """Base of every error that a user may see; its text names the value, the limit and the fix."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500


class InputError(HeadsplatError):
    """The input is at fault; its outcome is ``rejected`` and a retry cannot help."""

    code = "bad_input"
    http_status = 422


class UnreadableImage(InputError):
    """The bytes are not an image in a format we accept, or the image is damaged."""

    code = "unreadable_image"


class ImageTooLarge(InputError):
    """The image is over the byte, pixel or side limit."""

    code = "image_too_large"
    http_status = 413


class ImageTooSmall(InputError):
    """The image, or the face in it, has too few pixels."""

    code = "image_too_small"


class NoFaceFound(InputError):
    """The detector found no face that it is sure of."""

    code = "no_face"


class UnreadableSource(InputError):
    """The file or object is missing or not a file."""

    code = "unreadable_source"
    http_status = 404


class UsageError(HeadsplatError):
    """The options contradict each other or cannot be met."""

    code = "usage"
    http_status = 400


class ModelNotFound(UsageError):
    """A model folder is missing, incomplete or damaged."""

    code = "model_not_found"


class GraphError(UsageError):
    """A stage reads a column that no earlier stage writes."""

    code = "graph"


class BackendUnavailable(HeadsplatError):
    """This machine lacks a device, kernel or package that the request needs."""

    code = "backend_unavailable"
    http_status = 501


class RequestRefused(HeadsplatError):
    """The online service does not do what it is asked."""

    code = "refused"
    http_status = 400


class Unauthorized(RequestRefused):
    """The request has no key, or one that is unknown or revoked."""

    code = "unauthorized"
    http_status = 401


class NotFound(RequestRefused):
    """There is no such thing, or it belongs to another caller, who shall not learn of it."""

    code = "not_found"
    http_status = 404


class IdempotencyConflict(RequestRefused):
    """The idempotency key was used before, for a request that asked for something else."""

    code = "idempotency_conflict"
    http_status = 422


class LeaseLost(RequestRefused):
    """The job was taken back from the worker, or deleted; what the worker made does not count."""

    code = "lease_lost"
    http_status = 409


class TooManyRequests(RequestRefused):
    """The request may succeed later.

    Attributes:
        retry_after_s: whole seconds after which it is worth trying again.
    """

    code = "too_many_requests"
    http_status = 429

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(TooManyRequests):
    """As many jobs wait as may wait."""

    code = "queue_full"


class TooManyJobs(TooManyRequests):
    """The caller has as many unfinished jobs as it may have."""

    code = "too_many_jobs"


class RateLimited(TooManyRequests):
    """The caller submits faster than it may."""

    code = "rate_limited"


class DatabaseUnavailable(HeadsplatError):
    """The database does not answer, or broke off; what was not confirmed may not have happened."""

    code = "database_unavailable"
    http_status = 503


class ProcessingError(HeadsplatError):
    """We are at fault; the outcome is ``failed``."""

    code = "processing"


class OutOfMemory(ProcessingError):
    """A batch of one row did not fit into memory."""

    code = "out_of_memory"
    http_status = 507


class DeviceBroken(ProcessingError):
    """After an error of this kind the process can do nothing more on its GPU."""

    code = "device_broken"


class TimedOut(ProcessingError):
    """A stage took longer over a row than it may."""

    code = "timed_out"
    http_status = 504


class AttemptsExhausted(ProcessingError):
    """The worker process died, or fell silent, at each attempt at a job."""

    code = "attempts_exhausted"


class SourceUnavailable(ProcessingError):
    """The file or object cannot be read now; that may change."""

    code = "source_unavailable"
    http_status = 502


class DestinationUnavailable(ProcessingError):
    """The avatar was made and cannot be stored now: no room, no permission, no answer."""

    code = "destination_unavailable"
    http_status = 503


class SourceTimeout(SourceUnavailable):
    """The file or object was not read before its deadline."""

    code = "source_timeout"
    http_status = 504


class Cancelled(ProcessingError):
    """The caller stopped the work."""

    code = "cancelled"
    http_status = 499


class DeadlineExceeded(ProcessingError):
    """The work did not finish before its deadline."""

    code = "deadline_exceeded"
    http_status = 504
