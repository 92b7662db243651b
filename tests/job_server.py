"""A Ray with a dashboard, and so with a job server, until standard input closes.

Run as a program it prints the dashboard's address. RAY_AUTH_MODE says whether it needs a token.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def job_server(environment: Mapping[str, str]) -> Iterator[str]:
    """A Ray of its own in another process; its dashboard's address."""
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        yield address
        server.communicate("")
    assert server.returncode == 0


if __name__ == "__main__":
    import ray

    context = ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=256 * 2**20,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    print(f"http://{context.dashboard_url}", flush=True)
    sys.stdin.read()
    ray.shutdown()
