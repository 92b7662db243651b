"""Whatever is added, changed, removed or killed: each photo ends with exactly one right outcome."""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jobs.batch
from jobs.batch import Batch, run_batch
from jobs.progress import Progress
from jobs.sources import Shard
from pipeline.errors import ProcessingError, UnreadableImage
from pipeline.graph import GraphOptions
from pipeline.local import run_local
from pipeline.recipe import Recipe
from pipeline.stage import Context, Row, Stage
from pipeline.stages.load import Load, LoadConfig
from pipeline.storage import Location, locate, publishing

RECIPE = Recipe(model_hash="m")
CONTENTS = ("red", "green", "blue", "bad", "buggy", "deadly")
EXPECTED = {"bad": "unreadable_image", "buggy": "processing", "deadly": "crashed"}


class Killed(BaseException):
    """The process is gone: nothing catches this, and nothing is written after it."""


class Bear(Stage):
    """An avatar whose content is the photo's."""

    name = "Bear"
    inputs = ("image", "id")
    outputs = ("gaussian_count",)

    def __init__(self, destination: str) -> None:
        self.destination = destination

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [self._bear(row) for row in rows]

    def _bear(self, row: Row) -> Row:
        text = row["image"].decode().strip()
        if text == "bad":
            raise UnreadableImage("bad")
        if text == "buggy":
            raise ProcessingError("buggy")
        World.made[text] += 1
        with publishing(locate(self.destination), row["id"], last="avatar.json") as folder:
            (folder / "avatar.json").write_text(json.dumps({"id": row["id"], "face_count": 1}))
        return {**row, "gaussian_count": 1}


def execute(stages: Sequence[Stage], rows: list[Row], progress: Progress) -> Iterator[Row]:
    World.given += len(rows)
    alive = [row for row in rows if Path(row["source"]).read_bytes() != b"deadly"]
    yield from run_local(stages, alive)


class World:
    """A folder of photos, a destination, and a disk that may fail for ever at any write."""

    made: ClassVar[Counter[str]] = Counter()
    given: ClassVar[int] = 0
    writes_left: ClassVar[int] = -1

    def __init__(self, folder: Path) -> None:
        self.photos, self.out = folder / "in", folder / "out"
        self.photos.mkdir()
        self.clock = 10**18
        World.made, World.given, World.writes_left = Counter(), 0, -1
        self.put("0.jpg", "red")

    def put(self, name: str, content: str) -> None:
        (self.photos / name).write_text(f"{content:6}")  # the size never tells that it changed
        self.clock += 1
        os.utime(self.photos / name, ns=(self.clock, self.clock))

    def remove(self, name: str) -> None:
        if len(list(self.photos.iterdir())) > 1:
            (self.photos / name).unlink(missing_ok=True)

    def run(self, shard: Shard | None = None, writes: int = -1) -> int:
        World.writes_left = writes
        batch = Batch(
            addresses=[str(self.photos)],
            destination=str(self.out),
            options=GraphOptions(),
            as_json=True,
            shard=shard,
            wave_rows=2,
        )
        try:
            return run_batch(batch, execute)
        except Killed:
            return -9
        finally:
            World.writes_left = -1

    def check(self) -> None:
        rows = pq.read_table(self.out / "manifest").to_pylist()
        by_source = {row["source"]: row for row in rows}
        assert len(by_source) == len(rows), "a row for each source, and no more"
        contents = {str(path): path.read_text().strip() for path in self.photos.iterdir()}
        for source, content in contents.items():
            row = by_source[source]
            assert row["error_code"] == EXPECTED.get(content)
            assert row["outcome"] == {None: "ok", "unreadable_image": "rejected"}.get(
                row["error_code"], "failed"
            )
            if row["outcome"] == "ok":
                sha256 = hashlib.sha256(f"{content:6}".encode()).hexdigest()
                assert row["id"] == RECIPE.photo_id(sha256)
                assert (self.out / row["id"] / "avatar.json").is_file()
        for content in set(contents.values()) - set(EXPECTED):
            same = [by_source[source] for source, text in contents.items() if text == content]
            owners = [row for row in same if row["duplicate_of"] is None]
            assert len(owners) <= 1, "one avatar, shown once"
        index = (self.out / "index.html").read_text()
        for code, count in Counter(row["error_code"] for row in rows if row["error_code"]).items():
            assert f"{count} {code}<" in index
        failed = map(json.loads, (self.out / "failed.jsonl").read_text().splitlines())
        assert {row["source"] for row in failed} == {
            row["source"] for row in rows if row["outcome"] != "ok"
        }


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.batch, "build_recipe", lambda options: RECIPE)
    monkeypatch.setattr(
        jobs.batch,
        "build_graph",
        lambda options, out, recipe: [
            Load(LoadConfig(recipe=recipe, destination=out)),
            Bear(out),
        ],
    )
    for name in ("write", "delete"):
        monkeypatch.setattr(Location, name, _mortal(getattr(Location, name)))


def _mortal(method: object) -> object:
    def attempt(self: Location, *data: bytes) -> None:
        if World.writes_left == 0:
            raise Killed
        World.writes_left -= 1
        method(self, *data)

    return attempt


@pytest.fixture(autouse=True)
def _flush_often(monkeypatch: pytest.MonkeyPatch) -> None:
    import jobs.manifest

    monkeypatch.setattr(jobs.manifest.Writer.__init__, "__defaults__", (0, 0.0))


_names = st.integers(0, 2).map("{}.jpg".format)
_steps = st.one_of(
    st.tuples(st.just("put"), _names, st.sampled_from(CONTENTS)),
    st.tuples(st.just("remove"), _names),
    st.tuples(st.just("run"), st.none()),
    st.tuples(st.just("run"), st.none(), st.integers(2, 25)),
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_steps, min_size=2, max_size=14))
def test_each_photo_has_exactly_one_outcome(steps: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        kills = 0
        for step, *arguments in steps:
            kills += getattr(world, step)(*arguments) == -9
        world.run()
        world.check()
        assert all(count <= 1 + kills for count in World.made.values()), "at most the killed twice"
        World.given = 0
        world.run()
        world.check()
        retried = [
            p for p in world.photos.iterdir() if p.read_text().strip() in ("buggy", "deadly")
        ]
        assert World.given == len(retried), "what is finished is not even given to the executor"


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=9), st.integers(1, 4))
def test_shards_share_a_collection_without_overlap(contents: list[str], count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for number, content in enumerate(contents):
            world.put(f"{number}.jpg", content)
        for number in range(1, count + 1):
            world.run(Shard(number=number, count=count))
        assert World.given == len(contents), "each photo belongs to one shard"
        rows = pq.read_table(world.out / "manifest").to_pylist()
        assert len(rows) == len(contents)
        assert len(list(world.out.glob("run-*-of-*.json"))) == count
        world.run()
        world.check()


def test_an_avatar_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    (avatar,) = world.out.glob("*/avatar.json")
    avatar.unlink()
    avatar.parent.rmdir()
    world.run()
    assert avatar.is_file()
    assert World.made["red"] == 2
    world.check()


@pytest.mark.parametrize("writes", range(2, 14))
def test_failures_of_a_run_that_was_killed_are_listed_by_the_next(
    tmp_path: Path, writes: int
) -> None:
    world = World(tmp_path)
    world.put("1.jpg", "green")
    world.run()
    world.put("0.jpg", "bad")
    world.run(writes=writes)
    world.remove("0.jpg")  # so that the next run has nothing new
    world.run()
    world.check()
