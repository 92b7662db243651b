"""What is particular to .glb: what the extension demands, and what we refuse to guess."""

from typing import Any

import numpy as np
import pytest
from marked_head import marked_head

from pipeline.errors import UnreadableSource
from pipeline.formats.glb import EXTENSION, read_glb, write_glb
from pipeline.formats.glb_container import open_glb, pack_glb


def _edited(**changes: Any) -> bytes:
    """Our file with values of the JSON part replaced, by paths such as ``nodes.0.scale``."""
    glb = open_glb(write_glb(marked_head()))
    for path, value in changes.items():
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        place: Any = glb.document
        for key in parents:
            place = place[key]
        place[last] = value
    return pack_glb(glb.document, glb.binary)


def test_the_document_says_what_the_extension_demands() -> None:
    glb = open_glb(write_glb(marked_head()))
    (primitive,) = glb.document["meshes"][0]["primitives"]
    assert glb.document["extensionsUsed"] == [EXTENSION]
    assert "extensionsRequired" not in glb.document  # others may show the points
    assert primitive["mode"] == 0
    assert primitive["extensions"][EXTENSION] == {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
    }
    quats, scales, opacities = (
        glb.accessor(primitive["attributes"][f"{EXTENSION}:{name}"])
        for name in ("ROTATION", "SCALE", "OPACITY")
    )
    np.testing.assert_allclose(quats[:, [3, 0, 1, 2]], marked_head().quats, atol=1e-6)
    np.testing.assert_allclose(scales, marked_head().scales)
    np.testing.assert_allclose(opacities[:, 0], marked_head().opacities)
    position = glb.document["accessors"][primitive["attributes"]["POSITION"]]
    np.testing.assert_allclose(position["max"], marked_head().means.max(0).values)
    np.testing.assert_allclose(position["min"], marked_head().means.min(0).values)


def test_points_have_linear_colours() -> None:
    glb = open_glb(write_glb(marked_head()))
    (primitive,) = glb.document["meshes"][0]["primitives"]
    colors = glb.accessor(primitive["attributes"]["COLOR_0"])
    np.testing.assert_allclose(colors[0], [0.2140, 0.2140, 0.2140, 0.8], atol=1e-4)


def test_integers_are_read_as_fractions() -> None:
    """Other writers store opacities as normalised bytes, with a stride of four."""
    glb = open_glb(write_glb(marked_head()))
    packed = np.zeros((303, 4), np.uint8)
    packed[:, 0] = (marked_head().opacities.numpy() * 255).round()
    document, binary = glb.document, glb.binary + packed.tobytes()
    document["buffers"][0]["byteLength"] = len(binary)
    document["bufferViews"][3] = {
        "buffer": 0, "byteOffset": len(glb.binary), "byteLength": packed.nbytes, "byteStride": 4,
    }  # fmt: skip
    document["accessors"][3] |= {"componentType": 5121, "normalized": True}
    again = read_glb(pack_glb(document, binary))
    np.testing.assert_allclose(again.opacities, marked_head().opacities, atol=0.002)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nodes.0.scale": [2, 2, 2]}, "a node has a scale"),
        ({"nodes": [{"children": [1], "matrix": [1] * 16}, {"mesh": 0}]}, "a node has a matrix"),
        ({"meshes.0.primitives.0.extensions": {}}, "no mesh has the extension"),
        (
            {f"meshes.0.primitives.0.extensions.{EXTENSION}.kernel": "box"},
            "kernel is 'box', and only 'ellipse'",
        ),
        (
            {f"meshes.0.primitives.0.extensions.{EXTENSION}.colorSpace": "lin_rec709_display"},
            "colorSpace is 'lin_rec709_display'",
        ),
        ({"buffers.0.uri": "head.bin"}, "another file"),
        ({"accessors.2.sparse": {}}, "sparse"),
        ({"accessors.2.count": 10**12}, "ends at byte 12"),
        ({"accessors.2.count": 0}, "ends at byte"),
        ({"accessors.2.count": 302}, "do not fit"),
        ({"accessors.1.type": "VEC3"}, "do not fit"),
        ({"accessors.2.componentType": 7}, "it lacks 7"),
        ({"bufferViews.0.byteOffset": -4}, "ends at byte"),
        ({"meshes": 3}, "not"),
    ],
)
def test_what_is_not_read_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableSource, match=rf"\.glb file .*{reason}"):
        read_glb(_edited(**changes))


def test_an_endless_list_in_the_document_is_refused() -> None:
    nested = b'{"meshes":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    data = pack_glb({}, b"").replace(b"{}  ", nested)
    length = len(data).to_bytes(4, "little")
    data = data[:8] + length + len(nested).to_bytes(4, "little") + data[16:]
    with pytest.raises(UnreadableSource, match="recursion"):
        read_glb(data)
