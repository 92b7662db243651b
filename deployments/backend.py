"""What every process of a service opens: the database, the files, and what is built on them."""

from dataclasses import dataclass

from deployments.database import Database
from deployments.job_files import JobFiles
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore
from deployments.keys import KeyStore
from deployments.options import ServiceOptions
from pipeline.storage import locate


@dataclass(frozen=True)
class Backend:
    """The durable part of a service.

    Attributes:
        options: of the service, resolved.
        store: the jobs, as clients see them.
        leases: the jobs, as workers see them.
        files: photos and avatars.
        keys: API keys.
    """

    options: ServiceOptions
    store: JobStore
    leases: JobLeases
    files: JobFiles
    keys: KeyStore


def open_backend(options: ServiceOptions) -> Backend:
    """Open the database and the folder for files; both are made if they are not there.

    Raises:
        UsageError: an address is not one.
        DatabaseUnavailable: the database does not answer.
    """
    database = Database(options.database)
    limits = options.limits()
    return Backend(
        options=options,
        store=JobStore(database, limits),
        leases=JobLeases(database, limits),
        files=JobFiles(locate(options.output)),
        keys=KeyStore(database),
    )
