"""``headsplat heads``: render digital humans, look at them, count them."""

import json as json_module
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro

from pipeline.errors import HeadsplatError, UsageError

_LABELS = (
    "sex", "age_group", "hair_style", "hair_color", "beard", "eye_color", "garment", "expression",
    "accessory",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """Render a dataset of digital humans with Ray; run it again and it goes on where it stopped.

    Example: headsplat heads render heads/ --identities 500

    Attributes:
        out: folder of the dataset.
        identities: how many people.
        start: number of the first identity.
        appearances: sequences per person: expressions and accessories.
        size: side of the square images, pixels.
        photo_views: random photo-like views per sequence, besides the 16 of the orbit.
        seed: another seed gives other people.
        address: Ray cluster to run on; by default Ray is started here for the length of the job.
        json: print one JSON object.
    """

    out: tyro.conf.Positional[Path]
    identities: int = 100
    start: int = 0
    appearances: int = 1
    size: int = 256
    photo_views: int = 8
    seed: int = 0
    address: str | None = None
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """Draw front views of a dataset, or of freshly made heads, as one picture.

    Example: headsplat heads sheet heads/ sheet.png
    Example: headsplat heads sheet 0:24 sheet.png

    Attributes:
        source: a dataset folder, or seeds as FIRST:LAST.
        png: the picture to write.
        count: at most so many heads of a dataset.
        columns: heads per row.
        orbit: show all 16 orbit views of each head, one head per row.
        size: pixels per view, for heads made from seeds.
    """

    source: tyro.conf.Positional[str]
    png: tyro.conf.Positional[Path]
    count: int = 24
    columns: int = 8
    orbit: bool = False
    size: int = 256


@dataclass(frozen=True, kw_only=True)
class StatsOptions:
    """Count who is in a dataset and check its pictures.

    Example: headsplat heads stats heads/

    Attributes:
        folder: of the dataset.
        json: print one JSON object.
    """

    folder: tyro.conf.Positional[Path]
    json: bool = False


def render(options: RenderOptions) -> int:
    """Render the missing sequences, one Ray task each; return the exit code.

    Raises:
        UsageError: the options contradict the folder's, or there is no such cluster.
        ProcessingError: sequences could not be rendered.
    """
    from pipeline.digital_human.dataset import prepare_folder, sequence_path
    from pipeline.digital_human.sequence import DatasetOptions

    if options.identities < 1 or options.start < 0:
        raise UsageError(
            f"identities {options.identities} from {options.start}: give at least 1, from 0 on"
        )
    dataset = DatasetOptions(
        size_px=options.size,
        appearances=options.appearances,
        photo_views=options.photo_views,
        seed=options.seed,
    )
    folder = options.out.absolute()
    prepare_folder(folder, dataset)
    first = options.start * options.appearances
    wanted = range(first, first + options.identities * options.appearances)
    missing = [number for number in wanted if not sequence_path(folder, number).exists()]
    failed: dict[int, str] = {}
    for done, result in enumerate(_render_with_ray(folder, dataset, missing, options.address), 1):
        if result["error"]:
            failed[int(result["sequence_id"])] = str(result["error"])
        if done % 10 == 0 or done == len(missing):
            print(f"[{done}/{len(missing)}] sequences", file=sys.stderr, flush=True)
    record = {
        "folder": str(options.out),
        "sequences": len(wanted),
        "rendered": len(missing) - len(failed),
        "failed": failed,
    }
    if options.json:
        print(json_module.dumps(record))
    else:
        there = len(wanted) - len(missing)
        print(f"{record['rendered']} rendered, {there} were there, {len(failed)} failed")
        for number, error in failed.items():
            print(f"  sequence {number}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _render_with_ray(
    folder: Path, dataset: Any, missing: list[int], address: str | None
) -> Iterator[dict[str, Any]]:
    if not missing:
        return
    import ray.data

    from jobs.ray_cluster import connected, given_up

    with connected(address):
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"sequence_id": number} for number in missing]
        source = ray.data.from_items(rows, override_num_blocks=len(rows))
        try:
            yield from source.map(_SequenceTask(folder, dataset), num_cpus=1).iter_rows()
        except ray.exceptions.RayError as error:
            raise given_up(error) from error


class _SequenceTask:
    """Renders one sequence into its file; an error becomes a column, so the others go on."""

    def __init__(self, folder: Path, dataset: Any) -> None:
        self._folder, self._dataset = folder, dataset
        self.__name__ = "RenderSequence"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        from pipeline.digital_human.dataset import write_sequence

        number = int(row["sequence_id"])
        try:
            write_sequence(self._folder, self._dataset, number)
        except (HeadsplatError, OSError, ValueError, ArithmeticError, LookupError) as error:
            return {"sequence_id": number, "error": f"{type(error).__name__}: {error}"}
        return {"sequence_id": number, "error": ""}


def sheet(options: SheetOptions) -> int:
    """Write the picture; return the exit code.

    Raises:
        UsageError: the seeds cannot be read or there is nothing to show.
        UnreadableSource: the folder is no dataset.
    """
    from pipeline.pictures import contact_sheet, png
    from pipeline.portrait.alpha import on_white

    heads = list(_heads_of(options))
    if not heads:
        raise UsageError(f"{options.source} has no heads to show; render some first")
    views = on_white(np.concatenate(heads))
    columns = len(heads[0]) if options.orbit else min(options.columns, len(views))
    options.png.parent.mkdir(parents=True, exist_ok=True)
    options.png.write_bytes(png(contact_sheet(views, columns)))
    print(f"{options.png}: {len(heads)} heads")
    return 0


def _heads_of(options: SheetOptions) -> Iterator[npt.NDArray[np.uint8]]:
    """Views to show per head: the front one, or the orbit."""
    first, colon, last = options.source.partition(":")
    if colon and first.isdigit() and last.isdigit():
        yield from _fresh_heads(range(int(first), int(last)), options)
        return
    from pipeline.digital_human.dataset import HeadDataset

    dataset = HeadDataset(options.source, split="all")
    for number in dataset.sequences[: options.count]:
        sequence = dataset.load(number)
        orbit = sequence.views[sequence.kind == "orbit"]
        yield orbit if options.orbit else orbit[:1]


def _fresh_heads(seeds: range, options: SheetOptions) -> Iterator[npt.NDArray[np.uint8]]:
    from pipeline.cameras import orbit
    from pipeline.digital_human import build_head, sample_appearance, sample_identity

    cameras = orbit() if options.orbit else orbit()[:1]
    for seed in seeds:
        identity = sample_identity(seed)
        scene = build_head(identity, sample_appearance(identity, 0))
        yield scene.render(cameras, options.size)


def stats(options: StatsOptions) -> int:
    """Print `dataset_stats`; return the exit code.

    Raises:
        UnreadableSource: the folder is no dataset.
    """
    record = dataset_stats(options.folder)
    if options.json:
        print(json_module.dumps(record))
        return 0
    for name, value in record.items():
        if isinstance(value, dict):
            counts = ", ".join(f"{key} {count}" for key, count in value.items())
            print(f"{name:<16}{counts}")
        else:
            print(f"{name:<16}{value}")
    return 0


def dataset_stats(folder: Path) -> dict[str, Any]:
    """Who is in a dataset, and how its pictures are framed.

    Args:
        folder: of the dataset.

    Returns:
        Numbers of sequences and views; per label its values and their counts; mean alpha
        coverage; shares of views whose top or side border is touched; share of the front views
        with all landmarks visible; bytes.
    """
    from pipeline.digital_human.dataset import HeadDataset, is_held_out, sequence_path

    dataset = HeadDataset(folder, split="all")
    counts: dict[str, Counter[str]] = {label: Counter() for label in _LABELS}
    coverage: list[float] = []
    top: list[bool] = []
    side: list[bool] = []
    visible: list[bool] = []
    held_out, size = 0, 0
    for number in dataset.sequences:
        sequence = dataset.load(number)
        for label, counter in counts.items():
            counter[str(sequence.labels[label])] += 1
        alpha = sequence.views[..., 3]
        coverage.append(float(alpha.mean()) / 255)
        top.extend(bool(view[0].any()) for view in alpha)
        side.extend(bool(view[:, [0, -1]].any()) for view in alpha)
        visible.append(bool(sequence.landmark_visible[0].all()))
        held_out += is_held_out(sequence.identity_id)
        size += sequence_path(dataset.folder, number).stat().st_size
    return {
        "sequences": len(dataset),
        "held_out": held_out,
        "views": len(top),
        **{label: dict(counter.most_common()) for label, counter in counts.items()},
        "coverage": _mean(coverage),
        "touches_top": _mean(top),
        "touches_side": _mean(side),
        "front_landmarks": _mean(visible),
        "bytes": size,
    }


def _mean(values: list[float] | list[bool]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0
