from dataclasses import dataclass

from deployments.database import Database
from deployments.schema import metadata, schema_version


def wipe(database: Database) -> None:
    """Empty the tables, which is faster than new ones."""
    with database.writing() as transaction:
        for table in reversed(metadata.sorted_tables):
            if table is not schema_version:
                transaction.connection.execute(table.delete())


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now_s: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s
