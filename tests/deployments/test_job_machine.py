"""The store against a model of it: random histories, compared after every step."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from store_helpers import Clock, wipe

from deployments.database import Database
from deployments.job import JobLimits, JobState, Lease, Outcome, Progress, Signal, Submission
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore
from pipeline.errors import IdempotencyConflict, LeaseLost, NotFound, QueueFull, TooManyJobs

LIMITS = JobLimits(queue=4, attempts=2, time_limit_s=100.0, retention_s=60.0)
LEASE_S = 10.0
MAX_JOBS = 3
RESERVED_S = 960.0
OWNERS = st.sampled_from(["ann", "bob"])


@dataclass
class ModelJob:
    owner: str
    key: str | None
    seed: int
    deadline_s: float
    state: str = "queued"
    token: str | None = None
    lease_s: float = 0.0
    attempts: int = 0
    cancel: bool = False
    expires_s: float | None = None
    error: str | None = None
    events: list[str] = field(default_factory=lambda: ["queued"])

    def move(self, state: str, now_s: float) -> None:
        self.state = state
        self.events.append(state)
        if state not in ("queued", "running"):
            self.expires_s = now_s + LIMITS.retention_s


class JobMachine(RuleBasedStateMachine):
    database: Database
    clock: Clock
    jobs = Bundle("jobs")
    leases = Bundle("leases")

    @initialize()
    def begin(self) -> None:
        wipe(self.database)
        self.clock.now_s = 1_000_000.0
        self.store = JobStore(self.database, LIMITS)
        self.workers = JobLeases(self.database, LIMITS)
        self.model: dict[str, ModelJob] = {}  # in the order of submission
        self.owed: dict[str, float] = {}

    def count(self, **values: Any) -> int:
        return sum(
            all(getattr(job, name) == value for name, value in values.items())
            for job in self.model.values()
        )

    @rule(target=jobs, owner=OWNERS, key=st.sampled_from([None, None, "k"]), seed=st.booleans())
    def submit(self, owner: str, key: str | None, seed: bool) -> str:
        earlier = next(
            (i for i, job in self.model.items() if key and (job.owner, job.key) == (owner, key)),
            None,
        )
        unfinished = self.count(owner=owner, state="queued") + self.count(
            owner=owner, state="running"
        )
        submission = Submission(
            owner=owner,
            options={"seed": int(seed)},
            photo_sha256s=("p",),
            idempotency_key=key,
            max_jobs=MAX_JOBS,
        )
        job_id = self.store.reserve()
        expected: type[Exception] | None = None
        if earlier and self.model[earlier].seed != seed:
            expected = IdempotencyConflict
        elif not earlier and self.count(state="queued") >= LIMITS.queue:
            expected = QueueFull
        elif not earlier and unfinished >= MAX_JOBS:
            expected = TooManyJobs
        if expected or earlier:
            self.owed[job_id] = self.clock.now_s + RESERVED_S
        if expected:
            with pytest.raises(expected):
                self.store.admit(submission)
            with pytest.raises(expected):
                self.store.submit(job_id, submission)
            return job_id
        job = self.store.submit(job_id, submission)
        assert job.id == (earlier or job_id)
        if not earlier:
            deadline_s = self.clock.now_s + LIMITS.time_limit_s
            self.model[job_id] = ModelJob(owner, key, int(seed), deadline_s)
        return job.id

    @rule(target=leases)
    def claim(self) -> Lease | None:
        self.expect_expiry()
        queued = [i for i, job in self.model.items() if job.state == "queued"]
        order = sorted(queued, key=lambda i: self.count(owner=self.model[i].owner, state="running"))
        lease = self.workers.claim("w", LEASE_S)
        assert (lease.job.id if lease else None) == (order[0] if order else None)
        if lease is not None:
            job = self.model[lease.job.id]
            job.move("running", self.clock.now_s)
            job.token, job.lease_s = lease.token, self.clock.now_s + LEASE_S
            job.attempts += 1
        return lease

    def held(self, lease: Lease) -> ModelJob | None:
        job = self.model.get(lease.job.id)
        return job if job is not None and job.token == lease.token else None

    @rule(lease=leases, reports=st.booleans())
    def heartbeat(self, lease: Lease | None, reports: bool) -> None:
        if lease is None:
            return
        job = self.held(lease)
        progress = Progress("LowRes", 3, 25, ("view-0.webp",)) if reports else None
        signal = self.workers.heartbeat(lease, LEASE_S, progress)
        if job is None or job.state != "running":
            assert signal == Signal.LOST
            return
        assert signal == (Signal.CANCEL if job.cancel else Signal.CONTINUE)
        job.lease_s = self.clock.now_s + LEASE_S
        if reports:
            job.events.append("progress")

    @rule(lease=leases, state=st.sampled_from(["succeeded", "rejected", "failed"]))
    def finish(self, lease: Lease | None, state: str) -> None:
        if lease is None:
            return
        job, outcome = self.held(lease), Outcome(state=JobState(state), error_code=f"is {state}")
        if job is None:
            with pytest.raises(LeaseLost):
                self.workers.finish(lease, outcome)
            return
        recorded = self.workers.finish(lease, outcome)
        if job.state == "running":
            job.move("cancelled" if job.cancel else state, self.clock.now_s)
            job.error = None if job.cancel else f"is {state}"
        assert (recorded.state, recorded.error_code) == (job.state, job.error)

    @rule(lease=consumes(leases))
    def release(self, lease: Lease | None) -> None:
        if lease is None:
            return
        self.workers.release(lease)
        job = self.held(lease)
        if job is not None and job.state == "running":
            job.attempts -= 1
            self.expect_taken_back(job)

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0, 35.0, 61.0, 961.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def expire(self) -> None:
        assert self.workers.expire() == self.expect_expiry()

    @rule(job_id=jobs, owner=OWNERS)
    def cancel(self, job_id: str, owner: str) -> None:
        job = self.model.get(job_id)
        if job is None or job.owner != owner:
            with pytest.raises(NotFound):
                self.store.cancel(owner, job_id)
            return
        if job.state == "queued":
            job.move("cancelled", self.clock.now_s)
        elif job.state == "running" and not job.cancel:
            job.cancel = True
            job.events.append("cancel_requested")
        assert self.store.cancel(owner, job_id).state == job.state

    @rule(job_id=jobs, owner=OWNERS)
    def erase(self, job_id: str, owner: str) -> None:
        job = self.model.get(job_id)
        if job is None or job.owner != owner:
            with pytest.raises(NotFound):
                self.store.erase(owner, job_id)
            return
        self.store.erase(owner, job_id)
        self.owed[job_id] = max(self.clock.now_s, job.lease_s if job.state == "running" else 0.0)
        del self.model[job_id]

    @rule(confirm=st.booleans())
    def sweep(self, confirm: bool) -> None:
        for job_id, job in list(self.model.items()):
            if job.expires_s is not None and job.expires_s <= self.clock.now_s:
                self.owed[job_id] = self.clock.now_s
                del self.model[job_id]
        due = {job_id for job_id, due_s in self.owed.items() if due_s <= self.clock.now_s}
        assert set(self.store.sweep()) == due
        if confirm:
            self.store.erased(due)
            self.owed = {i: due_s for i, due_s in self.owed.items() if i not in due}

    @invariant()
    def lists_what_the_model_has(self) -> None:
        for owner in ("ann", "bob"):
            mine = [(i, job) for i, job in self.model.items() if job.owner == owner]
            listed, cursor = [], None
            while True:
                page = self.store.list(owner, cursor, limit=2)
                listed += page.jobs
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert [
                (j.id, j.state, j.attempts, j.cancel_requested, j.error_code, j.expires_s)
                for j in listed
            ] == [
                (i, j.state, j.attempts, j.cancel, j.error, j.expires_s) for i, j in reversed(mine)
            ]

    @invariant()
    def events_tell_what_happened(self) -> None:
        for job_id, job in self.model.items():
            events = self.store.events(job.owner, job_id)
            assert [event.id for event in events] == list(range(1, len(job.events) + 1))
            assert [event.data.get("state", event.kind) for event in events] == job.events

    def expect_expiry(self) -> int:
        overdue = [
            job
            for job in self.model.values()
            if (job.state == "running" and min(job.lease_s, job.deadline_s) <= self.clock.now_s)
            or (job.state == "queued" and job.deadline_s <= self.clock.now_s)
        ]
        for job in overdue:
            self.expect_taken_back(job)
        return len(overdue)

    def expect_taken_back(self, job: ModelJob) -> None:
        job.token = None
        if job.cancel:
            job.move("cancelled", self.clock.now_s)
        elif job.deadline_s <= self.clock.now_s:
            job.error = "deadline_exceeded"
            job.move("failed", self.clock.now_s)
        elif job.attempts >= LIMITS.attempts:
            job.error = "attempts_exhausted"
            job.move("failed", self.clock.now_s)
        else:
            job.move("queued", self.clock.now_s)


def test_the_store_does_what_its_model_does(database: Database, clock: Clock) -> None:
    machine = type("Machine", (JobMachine,), {"database": database, "clock": clock})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
