"""How photos are listed and read in an object store: requests, faults, deadlines."""

import io
import itertools
import tarfile
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_s3 import HANG, FaultyS3, faulty_s3

from jobs import manifest
from jobs.sources import list_sources
from pipeline.recipe import Recipe
from pipeline.stage import Row, run_stage
from pipeline.stages.load import Load, LoadConfig
from pipeline.storage import locate

BUCKET = "s3://intake"


@pytest.fixture(scope="module")
def proxy(s3_server: str) -> Iterator[FaultyS3]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3_server,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    client.create_bucket(Bucket="intake")
    for name in [f"many/{i % 7}/{i:03}.jpg" for i in range(40)]:
        client.put_object(Bucket="intake", Key=name, Body=name.encode(), ACL="public-read")
    client.put_object(Bucket="intake", Key="many/notes.md", Body=b"-")
    client.put_object(Bucket="intake", Key="empty.jpg", Body=b"")
    with faulty_s3(s3_server) as server:
        yield server
    client.close()


@pytest.fixture(autouse=True)
def _environment(proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    proxy.requests.clear()
    proxy.faults.clear()


def _load(addresses: list[str], timeout_s: float = 60) -> list[Row]:
    listing = list_sources(addresses)
    stage = Load(LoadConfig(recipe=Recipe(model_hash="m"), read_timeout_s=timeout_s))
    return run_stage(stage, listing.rows(np.arange(len(listing))))


def test_a_thousand_objects_are_one_listing_and_each_is_one_get(proxy: FaultyS3) -> None:
    rows = _load([f"{BUCKET}/many"])
    assert sorted(row["image"].decode() for row in rows) == sorted(
        f"many/{i % 7}/{i:03}.jpg" for i in range(40)
    )
    assert proxy.count("list-type") == {"GET": 1}
    assert proxy.count(".jpg") == {"GET": 40}
    assert sum(proxy.count().values()) == 41
    assert all(row["source_mtime_ns"] for row in rows)


def test_a_named_object_is_not_looked_at_before_it_is_read(proxy: FaultyS3) -> None:
    names = [f"{BUCKET}/many/1/001.jpg", f"{BUCKET}/gone.jpg", f"{BUCKET}/empty.jpg"]
    found, gone, empty = _load([*names])
    assert (found["image"], gone["error_code"]) == (b"many/1/001.jpg", "unreadable_source")
    assert empty["error_code"] == "unreadable_image"
    assert proxy.count() == {"GET": 3}


@pytest.mark.parametrize("faults", [[503, 503], ["SlowDown", 500]])
def test_a_store_that_recovers_costs_no_outcome(proxy: FaultyS3, faults: list[object]) -> None:
    proxy.faults["001.jpg"] = iter(faults)
    (row,) = _load([f"{BUCKET}/many/1/001.jpg"])
    assert row["image"] == b"many/1/001.jpg"
    assert proxy.count("001.jpg") == {"GET": 3}


@pytest.mark.parametrize(
    ("fault", "timeout_s", "code"),
    [  # the retries of a 503 come to an end, within 4 s on a machine that is free
        (503, 15, "source_unavailable"),
        ("SlowDown", 4, "source_timeout"),
        (HANG, 4, "source_timeout"),
    ],
)
def test_a_store_that_does_not_recover_fails_the_row_in_time(
    proxy: FaultyS3, fault: object, timeout_s: float, code: str
) -> None:
    proxy.faults["001.jpg"] = itertools.repeat(fault)
    started = time.monotonic()
    bad, good = _load([f"{BUCKET}/many/1/001.jpg", f"{BUCKET}/many/2/002.jpg"], timeout_s=timeout_s)
    assert time.monotonic() - started < 30
    assert (bad["outcome"], bad["error_code"]) == ("failed", code)
    assert bad["error_trace"] is None
    assert good["image"] == b"many/2/002.jpg"
    assert proxy.count("001.jpg")["GET"] <= 20


def test_public_buckets_need_no_credentials(
    proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    server = urlsplit(proxy.url).netloc
    options = f"endpoint_override={server}&scheme=http&region=us-east-1&anonymous=true"
    rows = _load([f"{BUCKET}/many/3?{options}"])
    assert len(rows) == 6
    assert rows[0]["source"] == f"{BUCKET}/many/3/003.jpg", "a name without the options"
    assert rows[0]["image"] == b"many/3/003.jpg"
    assert not any("Authorization" in headers for _, _, headers in proxy.requests)


def test_containers_are_read_by_ranges(proxy: FaultyS3) -> None:
    images = [bytes([i]) * 40_000 for i in range(6)]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number, image in enumerate(images):
            member = tarfile.TarInfo(f"{number:04}.jpg")
            member.size = len(image)
            tar.addfile(member, io.BytesIO(image))
    locate(f"{BUCKET}/boxes/a.tar").write(stream.getvalue())
    table = pa.table({"image": [{"bytes": i, "path": None} for i in images]})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=3)
    locate(f"{BUCKET}/boxes/b.parquet").write(sink.getvalue())
    proxy.requests.clear()
    rows = _load([f"{BUCKET}/boxes"])
    assert [row["image"] for row in rows] == images * 2
    assert rows[1]["source"] == f"{BUCKET}/boxes/a.tar#0001.jpg"
    assert rows[-1]["source"] == f"{BUCKET}/boxes/b.parquet#5"
    assert proxy.count("boxes/a.tar") == {"GET": 7 + 1 + 6}, "headers, the end, and the photos"
    assert proxy.count("boxes/b.parquet")["GET"] <= 10
    assert "HEAD" not in proxy.count("boxes/a.tar") | proxy.count("boxes/b.parquet")


def test_a_tar_is_listed_once(proxy: FaultyS3) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number in range(3):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = 100_000
            tar.addfile(member, io.BytesIO(bytes([number]) * member.size))
    place = locate(f"{BUCKET}/shards/a.tar")
    place.write(stream.getvalue()[:250_000])
    first = list_sources([f"{BUCKET}/shards"], exclude=f"{BUCKET}/made")
    proxy.requests.clear()
    again = list_sources([f"{BUCKET}/shards"], exclude=f"{BUCKET}/made")
    assert again == first
    assert len(again) == 3, "two photos, and that it was cut off"
    assert proxy.count("a.tar") == {}
    place.write(stream.getvalue())
    assert len(list_sources([f"{BUCKET}/shards"], exclude=f"{BUCKET}/made")) == 3
    assert proxy.count("a.tar")["GET"] > 2, "a tar that changed is listed anew"


def test_a_container_that_cannot_be_read_now_is_tried_again(proxy: FaultyS3) -> None:
    locate(f"{BUCKET}/sick/a.tar").write(bytes(10_240))
    proxy.faults["a.tar"] = itertools.repeat(503)
    (row,) = _load([f"{BUCKET}/sick"])
    assert (row["outcome"], row["error_code"]) == ("failed", "source_unavailable")


def test_a_small_file_is_one_put(proxy: FaultyS3) -> None:
    root = locate(f"{BUCKET}/out")
    stamp = manifest.Stamp(run="r", recipe="k", model_hash="m")
    with manifest.Writer(root, stamp) as writer:
        writer.add({"source": "a", "outcome": "ok"})
    assert proxy.count("/out/manifest") == {"PUT": 1}
    assert manifest.load(root).table.num_rows == 1
