"""What the online service does with more than it can carry: an open loop at a multiple of it.

    python -m benchmarks.serving_load --requests 1500

Requests come at a fixed rate whether or not earlier ones were answered: first a tenth of them at
0.7 times what the service can carry, then all at 3 times. Each waits for its avatar (``Prefer:
wait``). One stage takes `WORK_MS`, so capacity is known; the arrays have the embedded model's
sizes. Every status and body is checked. What it said last is in docs/serving.md.
"""

import argparse
import asyncio
import io
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx2
import numpy as np
import psutil
from PIL import Image

from benchmarks.serving import serving
from jobs.demo import demo_photos

WORK_MS, QUEUE = 200, 6
LITTLE, MUCH = 0.7, 3.0
"""Times the capacity."""
SAMPLE_S = 1.0


@dataclass
class Answers:
    """What came back.

    Attributes:
        statuses: how often each.
        seconds: of each that was accepted, from request to avatar.
        retry_after_s: what each 429 said.
        memory_mb: resident memory of all processes of the service, MB of 1e6 bytes, with the
            number of jobs that were done.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    retry_after_s: list[int] = field(default_factory=list)
    memory_mb: list[tuple[int, float]] = field(default_factory=list)


def main() -> None:
    """Offer little and much, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1500)
    number = parser.parse_args().requests
    print(f"one at a time takes {WORK_MS} ms, {QUEUE} may wait, 3 are under way")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(folder, "embedded", queue=QUEUE, jobs_per_runner=3) as client,
    ):
        for times, requests in ((LITTLE, number // 10), (MUCH, number)):
            answers = asyncio.run(offer(str(client.base_url), times * 1000 / WORK_MS, requests))
            print(f"{times:g} times the capacity\n{report(answers)}", flush=True)


async def offer(url: str, per_s: float, number: int, seed: int = WORK_MS) -> Answers:
    """Send ``number`` requests, ``per_s`` a second, and collect the answers."""
    photo, answers = _photo(), Answers()
    limits = httpx2.Limits(max_connections=None)
    async with (
        httpx2.AsyncClient(base_url=url, timeout=120.0, limits=limits) as client,
        asyncio.TaskGroup() as tasks,
    ):
        watching = tasks.create_task(_watch_memory(answers))
        started_s, asked = time.monotonic(), []
        for n in range(number):
            await asyncio.sleep(max(0.0, started_s + n / per_s - time.monotonic()))
            asked.append(tasks.create_task(_ask(client, photo, seed, answers)))
        await asyncio.gather(*asked)
        watching.cancel()
    return answers


def _photo() -> bytes:
    stream = io.BytesIO()
    Image.open(demo_photos()[0]).save(stream, "JPEG", quality=90)
    return stream.getvalue()


async def _ask(client: httpx2.AsyncClient, photo: bytes, seed: int, answers: Answers) -> None:
    started_s = time.monotonic()
    response = await client.post(
        "/v1/avatars",
        files={"photo": ("photo", photo)},
        data={"options": json.dumps({"seed": seed})},
        headers={"Prefer": "wait=100"},
    )
    answers.statuses[response.status_code] += 1
    body = response.json()
    if response.status_code == 429:
        assert body["code"] == "queue_full", body
        answers.retry_after_s.append(int(response.headers["retry-after"]))
    else:
        assert (response.status_code, body["state"]) == (200, "succeeded"), body
        answers.seconds.append(time.monotonic() - started_s)


async def _watch_memory(answers: Answers) -> None:
    while True:
        answers.memory_mb.append((len(answers.seconds), await asyncio.to_thread(_memory_mb)))
        await asyncio.sleep(SAMPLE_S)


def _memory_mb() -> float:
    return sum(_resident(one) for one in psutil.Process().children(recursive=True)) / 1e6


def _resident(process: psutil.Process) -> int:
    """Bytes of its own: what it shares, as Ray's object store, is counted by nobody."""
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - memory.shared)


def report(answers: Answers) -> str:
    """The answers as text."""
    p50, p95 = np.percentile(answers.seconds, [50, 95])
    lines = [
        f"answers: {dict(answers.statuses)}",
        f"accepted: p50 {p50:.2f} s, p95 {p95:.2f} s, most {max(answers.seconds):.2f} s",
    ]
    if answers.retry_after_s:
        least, most = min(answers.retry_after_s), max(answers.retry_after_s)
        lines.append(f"Retry-After: {least} to {most} s")
    quarter = len(answers.memory_mb) // 4
    early, late = answers.memory_mb[quarter : 2 * quarter], answers.memory_mb[-quarter:]
    for name, part in (("second", early), ("last", late)):
        memory = np.mean([one for _, one in part])
        lines.append(f"memory in the {name} quarter: {memory:.0f} MB ({part[-1][0]} jobs done)")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
