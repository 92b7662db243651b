"""What the service measures, in Ray's Prometheus endpoint; no label names a job or a person."""

from ray.util.metrics import Counter, Gauge, Histogram

_BOUNDS_S = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0]


class Metrics:
    """The runner's metrics; make them once a process."""

    def __init__(self) -> None:
        self._request = Histogram(
            "headsplat_request_seconds",
            description="From a job's submission to its end.",
            boundaries=_BOUNDS_S,
            tag_keys=("outcome",),
        )
        self._stage = Histogram(
            "headsplat_stage_seconds",
            description="Work of one stage on one job, without waiting.",
            boundaries=_BOUNDS_S,
            tag_keys=("stage",),
        )
        self._jobs = Counter(
            "headsplat_jobs_total", description="Jobs that ended.", tag_keys=("outcome",)
        )
        self._queue = Gauge("headsplat_queue_length", description="Jobs that wait.")

    def stage(self, name: str, seconds: float) -> None:
        """A stage finished a job's row."""
        self._stage.observe(seconds, {"stage": name})

    def job(self, outcome: str, seconds: float) -> None:
        """A job ended."""
        self._request.observe(seconds, {"outcome": outcome})
        self._jobs.inc(1.0, {"outcome": outcome})

    def queue(self, jobs: int) -> None:
        """So many jobs wait."""
        self._queue.set(jobs)
