"""The files of the online service's jobs: each job has a folder, and it goes as a whole.

    <root>/<job id>/photos/0, 1, ...       the bytes as they were uploaded
    <root>/<job id>/early/                 pictures of an avatar that is being made
    <root>/<job id>/avatars/<avatar id>/   laid out like the results of a batch

No two jobs share a file, so erasing one person's job never touches another's.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deployments.job_store import is_job_id
from pipeline.errors import NotFound
from pipeline.storage import Location

EARLY = {"portrait": "portrait.png", "lowres_views": "lowres_views.webp", "views": "views.webp"}
"""Columns that are shown as soon as they are there, and the names of their pictures."""


class JobFiles:
    """Photos and results, on disk or in an object store.

    Args:
        root: the folder or prefix that holds the jobs' folders; it is made, for its owner's eyes
            only, if it is on disk.
    """

    def __init__(self, root: Location) -> None:
        self._root = root
        if root.is_local:
            Path(root.path).mkdir(mode=0o700, parents=True, exist_ok=True)

    def avatars(self, job_id: str) -> Location:
        """Where the job's avatars go."""
        return self._folder(job_id).child("avatars")

    def early(self, job_id: str) -> Location:
        """Where pictures go that show how far the job is."""
        return self._folder(job_id).child("early")

    def photo(self, job_id: str, number: int = 0) -> Location:
        """Where an uploaded photo is."""
        return self._folder(job_id).child("photos", str(number))

    def save_photos(self, job_id: str, photos: Sequence[bytes]) -> None:
        """Store the uploaded bytes, under names that the client has no part in."""
        for number, photo in enumerate(photos):
            self.photo(job_id, number).write(photo)

    def erase(self, job_id: str) -> None:
        """Delete all the job's files; there need not be any.

        In a bucket with versioning the bucket's own rules have to expire the old versions.

        Raises:
            OSError: they cannot be deleted now.
        """
        with suppress(FileNotFoundError):
            self._folder(job_id).delete_folder()

    def _folder(self, job_id: str) -> Location:
        if not is_job_id(job_id):
            raise NotFound(f"{job_id[:40]!r} is not the id of a job")
        return self._root.child(job_id)
