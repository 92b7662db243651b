"""``headsplat heads sheet``: pictures of many heads, freshly made or from a dataset."""

import json as json_module
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import tyro

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.digital_human import HeadScene
    from pipeline.digital_human.dataset import HeadDataset

Pixels = npt.NDArray[np.uint8]
Show = Literal["identities", "orbit", "expressions", "accessories", "truth"]


@dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """Draw the heads of a dataset, or freshly made ones, as one picture.

    Example: headsplat heads sheet heads/ sheet.png
    Example: headsplat heads sheet 0:24 sheet.png
    Example: headsplat heads sheet 0:4 faces.png --show expressions

    Attributes:
        source: folder or URI of a dataset, or seeds as FIRST:LAST.
        png: the picture to write.
        show: identities are front views. The others have a row per person: orbit all views of
            the ring at the height of the face; expressions all nine; accessories all of them;
            truth colour, depth, normals, parts and landmarks of the front view. A dataset shows
            identities, orbit and, if it holds it, truth.
        count: at most so many people of a dataset.
        columns: people per row of identities.
        size: pixels per view, for heads made from seeds.
        samples: supersampling per side, for heads made from seeds.
        json: print one JSON object.
    """

    source: tyro.conf.Positional[str]
    png: tyro.conf.Positional[Path]
    show: Show = "identities"
    count: int = 24
    columns: int = 8
    size: int = 256
    samples: int = 3
    json: bool = False


def sheet(options: SheetOptions) -> int:
    """Write the picture; return the exit code.

    Raises:
        UsageError: there is nothing to show, or a dataset cannot show it.
        UnreadableSource: there is no such dataset.
    """
    from pipeline.pictures import contact_sheet, png

    heads = list(_heads(options))
    if not heads:
        raise UsageError(f"{options.source} has no heads to show; render some first")
    views = np.concatenate(heads)
    columns = min(options.columns, len(views)) if options.show == "identities" else len(heads[0])
    picture = contact_sheet(views, columns)
    options.png.parent.mkdir(parents=True, exist_ok=True)
    options.png.write_bytes(png(picture))
    height, width = picture.shape[:2]
    record = {"png": str(options.png), "heads": len(heads), "width": width, "height": height}
    if options.json:
        print(json_module.dumps(record))
    else:
        print(f"{options.png}: {len(heads)} heads, {width} x {height} pixels")
    return 0


def _heads(options: SheetOptions) -> Iterator[Pixels]:
    """What is shown of each head, [V, H, W, 3]."""
    first, colon, last = options.source.partition(":")
    if colon and first.isdigit() and last.isdigit():
        return (_fresh(seed, options) for seed in range(int(first), int(last)))
    return _stored(options)


def _fresh(seed: int, options: SheetOptions) -> Pixels:
    from pipeline.cameras import orbit
    from pipeline.digital_human.truth_pictures import truth_strip
    from pipeline.portrait.alpha import on_white

    scenes = list(_scenes(seed, options.show))
    if options.show == "truth":
        frame = scenes[0].frame(orbit()[:1], 0, options.size, options.samples)
        return truth_strip(
            frame.rgba,
            frame.depth,
            frame.normals,
            frame.parts,
            frame.landmarks,
            frame.landmark_visible,
        )
    cameras = orbit() if options.show == "orbit" else orbit()[:1]
    views = [scene.render(cameras, options.size, options.samples) for scene in scenes]
    return on_white(np.concatenate(views))


def _scenes(seed: int, show: Show) -> Iterator["HeadScene"]:
    """The person in each appearance that is shown."""
    from pipeline.digital_human import build_head, sample_appearance, sample_identity
    from pipeline.digital_human.expression import ACCESSORIES, EXPRESSIONS

    person = sample_identity(seed)
    forced: dict[str, list[dict[str, str]]] = {
        "expressions": [{"expression": name} for name in EXPRESSIONS],
        "accessories": [{"accessory": name} for name in ACCESSORIES],
    }
    for choice in forced.get(show, [{}]):
        yield build_head(person, sample_appearance(person, 0, **choice))


def _stored(options: SheetOptions) -> Iterator[Pixels]:
    from pipeline.digital_human.dataset import HeadDataset

    if options.show in ("expressions", "accessories"):
        raise UsageError(
            f"a dataset does not hold all {options.show} of a person; give seeds as FIRST:LAST"
        )
    heads = HeadDataset(options.source, split="all")
    firsts = {heads.options.identity_of(number): number for number in reversed(heads.sequences)}
    for number in sorted(firsts.values())[: options.count]:
        yield _shown(heads, number, options.show)


def _shown(heads: "HeadDataset", number: int, show: Show) -> Pixels:
    from pipeline.digital_human.truth_pictures import truth_strip
    from pipeline.portrait.alpha import on_white

    if show == "orbit":
        ring = heads.options.ring(heads.options.level_deg or 0.0)
        return on_white(heads.load(number, ring).views)
    loaded = heads.load(number, [heads.options.front], truth=show == "truth")
    if loaded.truth is None:
        return on_white(loaded.views)
    truth = loaded.truth
    return truth_strip(
        loaded.views[0],
        truth.depth[0],
        truth.normals[0],
        truth.parts[0],
        loaded.landmarks[0],
        loaded.landmark_visible[0],
    )
