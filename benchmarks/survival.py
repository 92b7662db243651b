"""What a batch job survives: bad files, dead workers, a dead node, a dead driver, a full disk.

    python -m benchmarks.survival                  # 1,000 inputs, 10 kills of the driver
    python -m benchmarks.survival --inputs 100 --scenarios driver

`headsplat generate` runs as a program of its own with small stages in the place of the networks,
see `benchmarks.survival_graph`. 30 % of the inputs are bad: text, truncated, one pixel, a bomb,
empty, one that brings its worker down and one that hangs. After each scenario

- each input has exactly one outcome, the right one;
- the avatars are byte for byte those of a run that nothing disturbed;
- nothing that was finished was made again, and the rest not more often than it was interrupted;
- at no moment was anything half-written visible.

Any of these that does not hold ends the program with an error. The moments come from a seed and the
number of avatars that are finished. The node is one of three that `ray.cluster_utils` starts on
this machine. What it said: docs/scale.md.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.survival_checks import (
    Inputs,
    Moment,
    Notes,
    Watcher,
    artefacts,
    check_outcomes,
    check_work,
    published,
    write_inputs,
)
from benchmarks.survival_graph import NOTES

ROOT = Path(__file__).parents[1]
TIMEOUT = ("--stage-timeout-s", "20")
STAGES = ("Load", "Decode", "Invent", "Assess", "Export")
_POLL_S = 0.05
_GONE_S = 20.0
_BUSY, _BUSY_S = 3.0, 300.0
"""Load a core above which a job is not started yet, and for how long."""
_TRAITS = ("scenario", "killed", "begun again", "most in flight", "seconds")


@dataclass
class Trial:
    """One run of the job, over and over until it gets to its end.

    Attributes:
        inputs: what it works on.
        home: folder of the trial, empty; the output and notes are in it.
        address: of a Ray cluster; None lets every job start its own.
        arguments: more of them for ``generate``.
        environment: more of it.
    """

    inputs: Inputs
    home: Path
    address: str | None = None
    arguments: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.home / "notes").mkdir(parents=True)
        self.out = self.home / "out"
        self.notes = Notes(self.home / "notes")

    @contextlib.contextmanager
    def running(self, *command: str) -> "Iterator[subprocess.Popen[str]]":
        """The job, or another command; it is gone at the end of the block."""
        if not command:
            command = ("generate", str(self.inputs.folder), str(self.out), *self.arguments)
            command += ("--address", self.address) if self.address else ()
        environment = {
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            NOTES: str(self.notes.folder),
            **self.environment,
        }
        program = [sys.executable, "-m", "benchmarks.survival_graph", *command]
        _wait_for_the_machine()
        with (self.home / "log.txt").open("a") as log:
            job = subprocess.Popen(
                program, env=environment, stdout=log, stderr=log, text=True, cwd=self.home
            )
        try:
            yield job
        finally:
            if job.poll() is None:
                self.kill(job)

    def finish(self, job: "subprocess.Popen[str]", codes: Sequence[int] = (1,)) -> None:
        """Wait for the end of the job; it is 1 where inputs were bad."""
        code = job.wait()
        text = (self.home / "log.txt").read_text()
        assert code in codes, f"exit code {code}:\n{text[-4000:]}"
        assert "Traceback" not in text, text[-4000:]

    def until(self, job: "subprocess.Popen[str]", avatars: int) -> None:
        """Wait, while the job is at work, for a number of finished avatars."""
        while len(published(self.out)) < avatars and job.poll() is None:
            time.sleep(_POLL_S)
        log = (self.home / "log.txt").read_text()
        assert job.poll() is None, f"the job ended before it could be disturbed:\n{log[-4000:]}"

    def interrupted(self, finished: set[str] | None = None) -> None:
        """Take down what was in flight, now that something is gone.

        Args:
            finished: what was before it was killed; None is what is now.
        """
        if finished is None:
            finished = published(self.out)
        begun = {avatar for _, avatar in self.notes.begun()}
        self.moments.append(Moment(time.monotonic(), finished, begun - finished))

    def kill(self, job: "subprocess.Popen[str]") -> None:
        """SIGKILL the driver and wait until the Ray that it had started is gone too."""
        family = psutil.Process(job.pid).children(recursive=True)
        job.send_signal(signal.SIGKILL)
        job.wait()
        _, alive = psutil.wait_procs(family, timeout=_GONE_S)
        for process in alive:  # on a busy machine Ray's agents take minutes to notice
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.interrupted()

    def check(self, reference: dict[str, object]) -> list[str]:
        """All that must hold; the cells of the table behind the scenario's name."""
        check_outcomes(self.inputs, self.out)
        assert artefacts(self.out) == reference
        redone = check_work(self.notes, self.moments)
        most = max((len(moment.in_flight) for moment in self.moments), default=0)
        return [str(len(self.moments)), str(redone), str(most)]


def _wait_for_the_machine() -> None:
    """Ray gives its processes 30 s to start, which is too little while the last ones still end."""
    until_s = time.monotonic() + _BUSY_S
    while os.getloadavg()[0] > _BUSY * (os.cpu_count() or 1) and time.monotonic() < until_s:
        time.sleep(1)


def undisturbed(trial: Trial) -> dict[str, object]:
    """A run that only its inputs disturb; its avatars are what all others must give."""
    with Watcher(trial.out), trial.running() as job:
        trial.finish(job)
    check_outcomes(trial.inputs, trial.out)
    assert len(published(trial.out)) == trial.inputs.good
    assert check_work(trial.notes, []) == 0
    return artefacts(trial.out)


def one_by_one(trial: Trial) -> dict[str, object]:
    """What `headsplat make`, the loop without Ray, makes of the good photos."""
    names = trial.home / "good.txt"
    good = [name for name, code in trial.inputs.codes.items() if code is None]
    names.write_text("".join(f"{trial.inputs.folder / name}\n" for name in good))
    with trial.running("make", str(names), "-o", str(trial.out)) as job:
        trial.finish(job, codes=[0])
    return artefacts(trial.out)


def driver(trial: Trial, kills: int, seed: int) -> None:
    """Kill the driver ``kills`` times, each time after some more avatars, and run it again."""
    rng = random.Random(seed)
    with Watcher(trial.out):
        for avatars in sorted(rng.sample(range(1, trial.inputs.good), kills)):
            with trial.running() as job:
                trial.until(job, avatars)
                time.sleep(rng.uniform(0, 0.3))
                trial.kill(job)
        with trial.running() as job:
            trial.finish(job)


def disturbed(trial: Trial, kills: Sequence[tuple[Any, ...]]) -> None:
    """Run the job once and disturb it.

    Args:
        trial: the job.
        kills: each of the number of finished avatars at which it is done, what kills something, and
            what is done after it.
    """
    with Watcher(trial.out), trial.running() as job:
        for avatars, kill, *repairs in kills:
            trial.until(job, avatars)
            finished = published(trial.out)
            kill()
            trial.interrupted(finished)
            for repair in repairs:
                repair()
        trial.finish(job)


def full_disk(trial: Trial, megabytes: float) -> None:
    """Let the destination's disk fill up, and make it larger for a second run."""
    with small_disk(trial.out, megabytes), Watcher(trial.out):
        with trial.running() as job:
            trial.finish(job)
        trial.interrupted()
        assert trial.moments[0].in_flight, "the disk did not get full"
        subprocess.run(["mount", "-o", "remount,size=4g", trial.out], check=True)
        with trial.running() as job:
            trial.finish(job)
        subprocess.run(["cp", "-a", trial.out, trial.home / "kept"], check=True)
    trial.out = trial.home / "kept"


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[None]:
    """A file system of its own in ``folder``.

    Raises:
        PermissionError: only root may mount one, and not everywhere.
    """
    folder.mkdir()
    size = f"size={round(megabytes * 1e6)}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        raise PermissionError(done.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """A Ray cluster on this machine: a head without CPUs, and nodes of four logical ones."""
    from ray.cluster_utils import Cluster

    Path("/tmp/ray").mkdir(exist_ok=True)  # noqa: S108 - Ray's own
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": 2**28,
            "include_dashboard": False,
            "_system_config": {"health_check_period_ms": 500, "health_check_timeout_ms": 1000},
        },
    )
    try:
        for _ in range(nodes):
            add_node(cluster)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any) -> None:
    """One more node."""
    cluster.add_node(num_cpus=4, object_store_memory=2**28)


def kill_node(cluster: Any) -> None:
    """SIGKILL a node and its workers, as when a machine loses its power."""
    victim = sorted(cluster.worker_nodes, key=lambda node: node.unique_id)[0]
    pids = [info.process.pid for infos in victim.all_processes.values() for info in infos]
    family = [psutil.Process(pid) for pid in pids]
    family += [child for process in family for child in process.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.remove_node(victim, allow_graceful=False)


def kill_worker(cluster: Any, rng: random.Random) -> None:
    """SIGKILL one of the processes that work on a stage."""
    with contextlib.suppress(psutil.NoSuchProcess):
        rng.choice(stage_workers(cluster)).kill()


def stage_workers(cluster: Any) -> list[psutil.Process]:
    """The processes that work on a stage."""
    infos = [info for node in cluster.worker_nodes for info in node.all_processes["raylet"]]
    found = []
    for info in infos:
        for process in psutil.Process(info.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                if any(f"({stage})" in process.cmdline()[0] for stage in STAGES):
                    found.append(process)
    return sorted(found, key=lambda process: process.pid)


def main() -> None:
    """Run the scenarios and print one row each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["driver", "workers", "node", "disk"]
    parser.add_argument("--scenarios", nargs="+", choices=names, default=names)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        inputs = write_inputs(home / "inputs", options.inputs, options.seed)
        print(f"{options.inputs} inputs, {inputs.good} of them good\n")
        print("| " + " | ".join(_TRAITS) + " |\n| --- | ---: | ---: | ---: | ---: |")
        trial = Trial(inputs, home / "undisturbed", arguments=TIMEOUT)
        started = time.monotonic()
        reference = undisturbed(trial)
        _tell("undisturbed", trial.check(reference), started)
        for name in options.scenarios:
            trial = Trial(inputs, home / name, arguments=TIMEOUT)
            started = time.monotonic()
            if name == "driver":
                driver(trial, options.kills, options.seed)
            elif name == "disk":
                used_mb = sum(len(data) for data in reference.values() if isinstance(data, bytes))
                full_disk(trial, used_mb / 2e6)
            else:
                on_cluster(name, trial, options.kills, options.seed)
            _tell(name, trial.check(reference), started)


def on_cluster(name: str, trial: Trial, kills: int, seed: int) -> None:
    """The scenarios that need several nodes."""
    rng = random.Random(seed)
    with cluster_of(3) as cluster:
        trial.address = cluster.address
        if name == "node":
            third = trial.inputs.good // 3
            disturbed(trial, [(third, lambda: kill_node(cluster), lambda: add_node(cluster))])
        else:
            moments = sorted(rng.sample(range(1, trial.inputs.good), kills))
            disturbed(trial, [(at, lambda: kill_worker(cluster, rng)) for at in moments])


def _tell(name: str, cells: list[str], started_s: float) -> None:
    row = [name, *cells, f"{time.monotonic() - started_s:.0f}"]
    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
