import pytest
from store_helpers import Clock

from deployments.database import Database
from deployments.job import Job, JobLimits, JobState, Lease, Outcome, Signal, Submission
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore
from pipeline.errors import LeaseLost

LIMITS = JobLimits(attempts=2, time_limit_s=100.0)
DONE = Outcome(state=JobState.SUCCEEDED, avatar_id="x")


class Service:
    def __init__(self, database: Database, clock: Clock) -> None:
        self.clock = clock
        self.store = JobStore(database, LIMITS)
        self.workers = JobLeases(database, LIMITS)

    def submit(self, owner: str = "ann") -> str:
        asked = Submission(owner=owner, options={}, photo_sha256s=("p",))
        return self.store.submit(self.store.reserve(), asked).id

    def claim(self, worker: str = "w") -> Lease:
        lease = self.workers.claim(worker, 10.0)
        assert lease is not None
        return lease

    def job(self, job_id: str) -> Job:
        return self.store.get("ann", job_id)


@pytest.fixture
def service(database: Database, clock: Clock) -> Service:
    return Service(database, clock)


def test_a_worker_that_lost_its_lease_can_neither_finish_nor_bring_back(service: Service) -> None:
    job_id = service.submit()
    slow = service.claim("slow")
    service.clock.now_s += 10.0
    quick = service.claim("quick")
    assert (quick.job.id, quick.job.attempts) == (job_id, 2)
    assert service.workers.heartbeat(slow, 10.0) == Signal.LOST
    service.workers.release(slow)
    with pytest.raises(LeaseLost, match="taken back"):
        service.workers.finish(slow, DONE)
    assert service.job(job_id).worker == "quick"
    finished = service.workers.finish(quick, DONE)
    with pytest.raises(LeaseLost):
        service.workers.finish(slow, Outcome(state=JobState.FAILED))
    assert service.workers.finish(quick, DONE) == finished == service.job(job_id)
    assert service.workers.heartbeat(quick, 10.0) == Signal.LOST


def test_a_late_heartbeat_counts_if_nobody_took_the_job(service: Service) -> None:
    service.submit()
    lease = service.claim()
    service.clock.now_s += 15.0
    assert service.workers.heartbeat(lease, 10.0) == Signal.CONTINUE
    assert service.workers.expire() == 0


def test_attempts_are_bounded(service: Service) -> None:
    job_id = service.submit()
    for _ in range(LIMITS.attempts):
        service.claim()
        service.clock.now_s += 10.0
    assert service.workers.claim("w", 10.0) is None
    job = service.job(job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, "attempts_exhausted")
    assert job.error_message == "its worker died at each of 2 attempts"


def test_giving_a_job_back_counts_no_attempt(service: Service) -> None:
    job_id = service.submit()
    for _ in range(5):
        service.workers.release(service.claim())
    assert (service.job(job_id).state, service.job(job_id).attempts) == (JobState.QUEUED, 0)


def test_jobs_out_of_time_fail(service: Service) -> None:
    waiting, running = service.submit(), service.submit()
    lease = service.claim()
    running, waiting = lease.job.id, ({waiting, running} - {lease.job.id}).pop()
    for _ in range(10):
        assert service.workers.heartbeat(lease, 15.0) == Signal.CONTINUE
        service.clock.now_s += 10.0
    assert service.workers.expire() == 2
    assert service.workers.heartbeat(lease, 10.0) == Signal.LOST
    for job_id in (waiting, running):
        job = service.job(job_id)
        assert (job.state, job.error_code) == (JobState.FAILED, "deadline_exceeded")
        assert job.error_message == "not finished 100 s after submission"


def test_cancelled_while_running_ends_as_cancelled(service: Service) -> None:
    job_id = service.submit()
    lease = service.claim()
    assert service.store.cancel("ann", job_id).state == JobState.RUNNING
    assert service.workers.heartbeat(lease, 10.0) == Signal.CANCEL
    assert service.workers.finish(lease, DONE).state == JobState.CANCELLED
    assert service.job(job_id).avatar_id is None
    assert service.store.cancel("ann", job_id).state == JobState.CANCELLED


def test_cancelled_and_then_abandoned_is_not_begun_again(service: Service) -> None:
    job_id = service.submit()
    service.claim()
    service.store.cancel("ann", job_id)
    service.clock.now_s += 10.0
    assert service.workers.claim("w", 10.0) is None
    assert service.job(job_id).state == JobState.CANCELLED


def test_cancelled_while_queued_is_never_begun(service: Service) -> None:
    job_id = service.submit()
    assert service.store.cancel("ann", job_id).state == JobState.CANCELLED
    assert service.workers.claim("w", 10.0) is None


def test_an_owner_with_few_jobs_does_not_wait_behind_one_with_many(service: Service) -> None:
    many = [service.submit("ann") for _ in range(3)]
    few = [service.submit("bob") for _ in range(2)]
    order = [service.claim().job.id for _ in range(5)]
    assert order == [many[0], few[0], many[1], few[1], many[2]]


def test_an_error_may_quote_any_bytes(service: Service) -> None:
    job_id = service.submit()
    message = "broken at \0\udcff, and so on"
    service.workers.finish(service.claim(), Outcome(state=JobState.REJECTED, error_message=message))
    assert service.job(job_id).error_message == "broken at ?, and so on"


@pytest.mark.parametrize("overdue", [False, True])
def test_what_a_stopped_worker_may_still_write_is_erased_after_its_lease(
    service: Service, overdue: bool
) -> None:
    job_id = service.submit()
    lease = service.claim()
    if overdue:
        service.clock.now_s += 99.0
        service.workers.heartbeat(lease, 10.0)
        service.clock.now_s += 2.0
        assert service.workers.expire() == 1
    else:
        service.store.cancel("ann", job_id)
        service.workers.finish(lease, Outcome(state=JobState.CANCELLED))
    service.store.erase("ann", job_id)
    assert service.store.sweep() == ()
    service.clock.now_s += 10.0
    assert service.store.sweep() == (job_id,)
