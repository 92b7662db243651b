"""A Ray cluster on this machine whose autoscaler starts and stops nodes, and what runs on it.

The head has no CPU. Node types are as in cluster.yaml: spot first, which the provider refuses as
AWS does when it has none, and on-demand machines of one logical GPU. Run as a program with the
cluster's address, photos and a destination, it is ``headsplat generate`` with small stages of which
one wants a GPU; it prints how many GPUs there were, until the cluster is back to none.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException

ROOT = Path(__file__).parents[2]
GPUS = 3
_IDLE_S = 6.0
_COMMANDS = (
    "initialization",
    "setup",
    "head_setup",
    "worker_setup",
    "head_start_ray",
    "worker_start_ray",
)
_DEADLINE_S = 240.0


class Provider(FakeMultiNodeProvider):
    """Nodes are processes; there is no spot machine to be had."""

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: Any, labels: Any
    ) -> None:
        with Path(self.provider_config["log"]).open("a") as log:
            log.write(tags["ray-user-node-type"] + "\n")
        if "spot" in tags["ray-user-node-type"]:
            raise NodeLaunchException("InsufficientInstanceCapacity", "none left", None)
        super().create_node_with_resources_and_labels(node_config, tags, count, resources, labels)


@contextlib.contextmanager
def growing_cluster(log: Path) -> Iterator[str]:
    """Start the head; end everything that grew from it. ``log`` gets a line a request for nodes."""
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as folder:  # sockets want short paths
        port = _free_port()
        address = f"{ray.util.get_node_ip_address()}:{port}"
        config = Path(folder) / "cluster.yaml"
        config.write_text(yaml.safe_dump(_config(address, log)))
        command = ["ray", "start", "--head", f"--port={port}", "--num-cpus=0", "--num-gpus=0"]
        command += ["--object-store-memory=100000000", f"--temp-dir={folder}/ray"]
        command += ["--include-dashboard=false", f"--autoscaling-config={config}"]
        try:
            started = subprocess.run(
                command, env=_environment(), check=False, capture_output=True, text=True
            )
            assert started.returncode == 0, started.stdout + started.stderr
            yield address
        finally:
            _end(folder)


def _config(address: str, log: Path) -> dict[str, Any]:
    node = {"min_workers": 0, "max_workers": GPUS, "node_config": {}}
    has = {"CPU": 8, "GPU": 1, "object_store_memory": 100_000_000}
    return {
        "cluster_name": "growing",
        "max_workers": 2 * GPUS,
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": _IDLE_S / 60,
        "provider": {
            "type": "external",
            "module": "growing_cluster.Provider",
            "gcs_address": address,
            "log": str(log),
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "available_node_types": {
            "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
            "gpu_spot": {**node, "resources": {**has, "preference": 1}},
            "gpu_on_demand": {**node, "resources": has},
        },
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "cluster_synced_files": [],
        **{f"{what}_commands": [] for what in _COMMANDS},
    }


def _environment() -> dict[str, str]:
    folders = [ROOT, ROOT / "tests" / "jobs", ROOT / "tests" / "system"]
    launcher = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    (start,) = [line for line in launcher["head_start_ray_commands"] if "ray start" in line]
    scorer = next(word for word in start.split() if word.startswith("RAY_AUTOSCALER"))
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(map(str, folders)),
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "TOY_SLEEP_S": "0.3",
        **dict([scorer.split("=")]),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _end(folder: str) -> None:
    """Kill the processes of the session in ``folder``; workers end with their raylet."""
    import psutil

    ours = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(folder in part for part in process.cmdline()):
                process.kill()
                ours.append(process)
    psutil.wait_procs(ours, timeout=10)


def _run(address: str, photos: str, out: str) -> int:
    import toy_avatars

    import jobs.batch
    from jobs.cli import main
    from pipeline.stage import Resources

    def graph(*arguments: Any) -> Any:
        stages = toy_avatars.graph(*arguments)
        for stage in stages:
            if stage.name == "Invent":
                stage.resources = Resources(cpus=1, gpus=1, memory_gb=0.1)
        return stages

    jobs.batch.build_graph = graph
    jobs.batch.build_recipe = toy_avatars.recipe
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    counts, done = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(counts, done))
    watcher.start()
    code = main(["generate", photos, out, "--cpus", str(8 * GPUS), "--gpus", str(GPUS)])
    done.set()
    watcher.join()
    ray.shutdown()
    print(json.dumps({"gpus": counts}))
    return code


def _watch(counts: list[int], done: threading.Event) -> None:
    started = time.monotonic()
    while time.monotonic() - started < _DEADLINE_S and not (done.is_set() and counts[-1] == 0):
        now = int(ray.cluster_resources().get("GPU", 0))
        if now != counts[-1]:
            counts.append(now)
            print(f"{time.monotonic() - started:5.1f} s: {now} GPUs", file=sys.stderr)
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(_run(*sys.argv[1:]))
