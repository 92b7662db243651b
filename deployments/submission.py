"""From uploaded photos to an accepted job, and from an erased job to no files.

Photos are stored before their job exists, and a job's row goes before its files. In between, the
database owes their erasure (`JobStore.sweep`), so a crash at any point leaves no photo behind.
"""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from deployments.job import Job, Submission
from deployments.job_files import JobFiles
from deployments.job_store import JobStore
from pipeline.connections import first_line
from pipeline.errors import ProcessingError, RequestRefused

_log = logging.getLogger("ray.serve")


def submit_photos(
    store: JobStore,
    files: JobFiles,
    photos: Sequence[bytes],
    *,
    owner: str,
    options: dict[str, Any],
    idempotency_key: str | None = None,
    max_jobs: int | None = None,
) -> Job:
    """Store the photos and submit the job.

    Args:
        store: the jobs.
        files: the photos.
        photos: of one person, as they were uploaded, checked by the caller.
        owner: id of the API key.
        options: of the avatar; JSON.
        idempotency_key: the client's name for this request.
        max_jobs: unfinished jobs that the owner may have; None is no limit.

    Returns:
        The new job, or the one that the same request made before.

    Raises:
        IdempotencyConflict, QueueFull, TooManyJobs, ProcessingError: as `JobStore.submit`.
    """
    submission = Submission(
        owner=owner,
        options=options,
        photo_sha256s=tuple(hashlib.sha256(photo).hexdigest() for photo in photos),
        idempotency_key=idempotency_key,
        max_jobs=max_jobs,
    )
    earlier = store.admit(submission)
    if earlier is not None:
        return earlier
    job_id = store.reserve()
    files.save_photos(job_id, photos)
    try:
        job = store.submit(job_id, submission)
    except (
        RequestRefused,
        ProcessingError,
    ):  # of any other error it is not known whether the job was accepted
        _forget(store, files, job_id)
        raise
    if job.id != job_id:
        _forget(store, files, job_id)
    return job


def erase_due(store: JobStore, files: JobFiles) -> int:
    """Erase what was kept long enough, and what crashes left behind; return how many jobs'.

    To be called every few seconds, by as many processes as like.
    """
    due = store.sweep()
    erased = 0
    for job_id in due:
        try:
            _forget(store, files, job_id)
            erased += 1
        except OSError as error:  # it comes again; until then the others' photos have to go
            _log.error("the files of %s could not be erased: %s", job_id, first_line(error))
    return erased


def _forget(store: JobStore, files: JobFiles, job_id: str) -> None:
    files.erase(job_id)
    store.erased([job_id])
