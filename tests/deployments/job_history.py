"""The history checker: what must hold whatever was killed when."""

from collections.abc import Iterable

from sqlalchemy import select

from deployments.database import Database
from deployments.schema import job_events, jobs

Note = tuple[int, str, str, str]
FINAL = {"succeeded", "rejected", "failed", "cancelled"}


def broken_promises(
    accepted: Iterable[str], notes: Iterable[Note], final: dict[str, tuple[str, str | None]]
) -> list[str]:
    """What is wrong with a history.

    Args:
        accepted: ids of the jobs whose submission was confirmed.
        notes: (time, claimed | finished | lost, job id, token), in the order of time.
        final: state and avatar of each job in the database; a worker's avatar is its token.
    """
    broken = []
    for job_id in accepted:
        if job_id not in final:
            broken.append(f"{job_id} is lost")
        elif final[job_id][0] not in FINAL:
            broken.append(f"{job_id} never ended")
    for job_id in set(final) - set(accepted):
        broken.append(f"{job_id} came from nowhere")
    finished: dict[str, str] = {}
    for _, what, job_id, token in notes:
        if job_id in finished and what in ("claimed", "finished"):
            broken.append(f"{job_id} was {what} after it had finished")
        if what == "finished":
            finished[job_id] = token
    for job_id, token in finished.items():
        if final.get(job_id) != ("succeeded", token):
            broken.append(f"{job_id} did not keep its confirmed outcome")
    return broken


def illegal_rows(database: Database) -> list[str]:
    """Jobs whose columns or events contradict each other."""
    with database.reading() as connection:
        rows = connection.execute(select(jobs)).all()
        events = connection.execute(select(job_events).order_by(job_events.c.id)).all()
    illegal = []
    for row in rows:
        mine = [event for event in events if event.job_number == row.number]
        states = [event.data["state"] for event in mine if event.kind == "state"]
        final = row.state in FINAL
        rules = {
            "events are numbered 1, 2, 3": [e.id for e in mine] == [*range(1, row.last_event + 1)],
            "the last state is the job's": states[-1:] == [row.state],
            "it ended at most once": sum(s in FINAL for s in states) == int(final),
            "nothing follows the end": not final or mine[-1].data.get("state") == row.state,
            "attempts are claims that were not given back": row.attempts <= states.count("running"),
            "the end has a time": final == (row.finished_s is not None),
            "the end has an expiry": final == (row.expires_s is not None),
            "who runs has a lease": (row.state == "running") == (row.lease_expires_s is not None),
            "who runs has a token": row.state != "running" or row.lease_token is not None,
            "who waits has none": row.state != "queued" or row.lease_token is None,
        }
        illegal += [f"{row.id} {row.state}: {rule}" for rule, held in rules.items() if not held]
    return illegal
