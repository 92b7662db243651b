"""The tables of the online service."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 1
"""Goes up with every change to these tables."""

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # in the order of submission
    Column("id", String(40), nullable=False, unique=True),
    Column("owner", String(40), nullable=False),
    Column("state", String(16), nullable=False),
    Column("options", JSON, nullable=False),
    Column("photo_sha256s", JSON, nullable=False),
    Column("idempotency_key", String(255)),
    Column("fingerprint", String(64), nullable=False),
    Column("created_s", Double, nullable=False),
    Column("started_s", Double),
    Column("finished_s", Double),
    Column("deadline_s", Double, nullable=False),
    Column("expires_s", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("worker", String(255)),
    Column("lease_token", String(40)),
    Column("lease_expires_s", Double),
    Column("stage", String(64)),
    Column("step", Integer),
    Column("steps", Integer),
    Column("last_event", Integer, nullable=False, default=0),
    Column("avatar_id", String(128)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    UniqueConstraint("owner", "idempotency_key"),
    Index("jobs_by_state", "state", "number"),
    Index("jobs_by_owner", "owner", "number"),
    Index("jobs_by_expiry", "expires_s"),
    sqlite_autoincrement=True,  # a deleted job's number is never given again
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_number", ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 ... in each job
    Column("created_s", Double, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("data", JSON, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("job_id", String(40), primary_key=True),
    Column("due_s", Double, nullable=False, index=True),
)
"""Jobs without a row in ``jobs`` whose files have to be erased, or may have to be."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("created_s", Double, nullable=False),
    Column("revoked_s", Double),
    Column("max_jobs", Integer, nullable=False),
    Column("per_minute", Double, nullable=False),
    Column("tokens", Double, nullable=False),
    Column("refilled_s", Double, nullable=False),
)
