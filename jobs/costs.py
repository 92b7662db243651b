"""What the stages cost for an avatar, in seconds and bytes: measured here, or in an earlier run."""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any

from jobs import manifest
from jobs.row_codec import encode_rows
from pipeline.errors import UsageError
from pipeline.graph import GraphOptions, build_graph, build_recipe, needed_after, trim
from pipeline.local import Claims, with_outcome
from pipeline.recipe import Recipe
from pipeline.stage import Context, Row, Stage, run_stage
from pipeline.storage import locate

SHIPPED = Path(__file__).with_name("embedded_costs.json")
"""Costs of the embedded model with the default options, on one core of the CPU that it names."""
_RUN = "run.json"


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Medians over some avatars.

    Attributes:
        seconds: that one actor works on an avatar, by stage. On a CPU this is CPU time a thread,
            which busy neighbours do not change.
        device: what the stages with large networks ran on: "cpu", the GPU's name, or None if a
            recorded run does not say.
        machine: the CPU's name.
        avatars: how many were made.
        photos: of how many photos.
        model_hash: of the model.
        options: of the recipe, see `pipeline.recipe`.
        payload_mb: MB of 1e6 bytes of a row behind each stage; empty if not known.
        setup_s: seconds until a stage has loaded; empty if not known.
        photo_bytes: of a photo.
        avatar_bytes: of an avatar's folder.
        avatar_files: files in it.
    """

    seconds: dict[str, float]
    device: str | None
    machine: str
    avatars: int
    photos: int
    model_hash: str
    options: dict[str, Any] = field(default_factory=dict)
    payload_mb: dict[str, float] = field(default_factory=dict)
    setup_s: dict[str, float] = field(default_factory=dict)
    photo_bytes: float | None = None
    avatar_bytes: float | None = None
    avatar_files: float | None = None

    def fits(self, recipe: Recipe) -> bool:
        """Whether they are of the same model and options."""
        return self.model_hash == recipe.model_hash and self.options == dict(recipe.options)

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def load_costs(address: str) -> Costs:
    """Read costs from a file that `Costs.write` made, or from the folder of a run.

    Raises:
        UsageError: it is neither, or no avatar of the run tells what it cost.
    """
    path = Path(address)
    if path.is_file():
        try:
            return Costs(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            names = ", ".join(one.name for one in fields(Costs))
            raise UsageError(
                f"{address} holds no costs ({error}); headsplat plan --measure writes them: {names}"
            ) from error
    return _of_run(address)


def shipped_costs(recipe: Recipe, stages: Sequence[Stage]) -> Costs | None:
    """The costs in the package if they are of this model, these options and these stages."""
    costs = load_costs(str(SHIPPED))
    known = all(stage.name in costs.seconds for stage in stages)
    return costs if known and costs.fits(recipe) else None


def measure(options: GraphOptions, photos: Sequence[Row], device: str) -> Costs:
    """Make the avatars of some photos in this process and see what each stage takes.

    The first photo is made once more before, so that nothing is counted that only the first call
    of a process does.

    Args:
        options: how the avatars are made.
        photos: rows with what the first stage reads.
        device: where stages that use a GPU load their weights.

    Raises:
        UsageError: none of the photos became an avatar.
    """
    recipe = build_recipe(options)
    with tempfile.TemporaryDirectory() as folder:
        stages = build_graph(options, folder, recipe)
        setup_s = {stage.name: _set_up(stage, device) for stage in stages}
        _make(stages, photos[0], device)
        made = Path(folder)
        for avatar in made.glob("*/avatar.json"):
            avatar.unlink()  # to be made again
        samples = [_make(stages, photo, device) for photo in photos]
        sizes = [[f.stat().st_size for f in p.parent.iterdir()] for p in made.glob("*/avatar.json")]
    kept = [sample for sample in samples if sample.avatars]
    if not kept:
        raise UsageError(
            f"none of {len(photos)} photos became an avatar; the first: {samples[0].trouble}"
        )
    return Costs(
        seconds={s.name: _median(x.seconds.get(s.name) for x in kept) for s in stages},
        device=_device_name(device),
        machine=cpu_name(),
        avatars=sum(sample.avatars for sample in kept),
        photos=len(photos),
        model_hash=recipe.model_hash,
        options=dict(recipe.options),
        payload_mb={s.name: _median(x.payload_mb.get(s.name) for x in kept) for s in stages},
        setup_s=setup_s,
        photo_bytes=median(sample.photo_bytes for sample in kept),
        avatar_bytes=median(map(sum, sizes)),
        avatar_files=median(map(len, sizes)),
    )


def cpu_name() -> str:
    """The processor's name as Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import platform

        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown CPU")


@dataclass
class _Sample:
    """One photo: what each stage took for an avatar of it."""

    seconds: dict[str, float] = field(default_factory=dict)
    payload_mb: dict[str, float] = field(default_factory=dict)
    avatars: int = 0
    photo_bytes: int = 0
    trouble: str | None = None


def _make(stages: Sequence[Stage], photo: Row, device: str) -> _Sample:
    clock = time.process_time if device == "cpu" else time.perf_counter
    context, sample = Context(claim=Claims()), _Sample()
    rows = [dict(photo)]
    for stage, needed in zip(stages, needed_after(stages), strict=True):
        started = clock()
        rows = [trim(row, needed) for row in run_stage(stage, rows, context)]
        live = [row for row in rows if row.get("outcome") is None]
        if live:
            sample.photo_bytes = sample.photo_bytes or len(live[0].get("image", b""))
            threads = max(1, int(stage.resources.cpus)) if device == "cpu" else 1
            sample.seconds[stage.name] = round((clock() - started) / len(live) / threads, 4)
            sample.payload_mb[stage.name] = round(encode_rows(live).nbytes / len(live) / 1e6, 3)
    finished = [with_outcome(row) for row in rows]
    sample.avatars = sum(row["outcome"] == "ok" for row in finished)
    sample.trouble = next((r["error_message"] for r in finished if r["outcome"] != "ok"), None)
    return sample


def _set_up(stage: Stage, device: str) -> float:
    started = time.perf_counter()
    stage.setup(device if stage.resources.gpus > 0 else "cpu")
    return round(time.perf_counter() - started, 2)


def _of_run(address: str) -> Costs:
    root = locate(address)
    columns = ("outcome", "resumed", "duplicate_of", "timings_s", "source")
    rows = [
        row
        for row in manifest.load(root, columns).rows.to_pylist(maps_as_pydicts="strict")
        if row["outcome"] == "ok" and not row["resumed"] and row["duplicate_of"] is None
    ]
    if not rows or not root.child(_RUN).exists():
        raise UsageError(
            f"{address} is neither a file of costs nor the folder of a run that made avatars; "
            "headsplat plan --measure makes such a file"
        )
    record = json.loads(root.child(_RUN).read())
    names = dict.fromkeys(name for row in rows for name in row["timings_s"])
    return Costs(
        seconds={name: _median(row["timings_s"].get(name) for row in rows) for name in names},
        device=None,
        machine=f"the run in {address}",
        avatars=len(rows),
        photos=len({row["source"] for row in rows}),
        model_hash=record["model_hash"],
        options=record["options"],
    )


def _median(values: Any) -> float:
    return round(float(median(value for value in values if value is not None)), 4)


def _device_name(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(0)
