"""Binary glTF as a container: a JSON part, a binary part, and the arrays in it.

Only what `pipeline.formats.glb` needs; `ValueError` and `LookupError` mean a damaged file.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.formats.numbers import Array

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_HEADER, _CHUNK = struct.Struct("<III"), struct.Struct("<II")
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_MOVES = {"matrix", "translation", "rotation", "scale"}


@dataclass(frozen=True)
class Glb:
    """An open file.

    Attributes:
        document: the JSON part.
        binary: the binary part.
    """

    document: dict[str, Any]
    binary: bytes

    def primitive(self, extension: str) -> dict[str, Any]:
        """The first mesh primitive that has ``extension``, from a mesh that no node moves."""
        for mesh, content in enumerate(self.document["meshes"]):
            for primitive in content["primitives"]:
                if extension in primitive.get("extensions", {}):
                    self._check_nodes(mesh)
                    return dict(primitive)
        raise ValueError(f"no mesh has the extension {extension}")

    def accessor(self, index: int) -> Array:
        """An accessor's numbers, [count, width] float32, normalised integers as fractions."""
        accessor = self.document["accessors"][index]
        if "sparse" in accessor or "bufferView" not in accessor:
            raise ValueError("it has sparse accessors, which are not read")
        view = self.document["bufferViews"][accessor["bufferView"]]
        if view["buffer"] != 0 or "uri" in self.document["buffers"][0]:
            raise ValueError("its numbers are in another file; pack everything into one .glb")
        dtype = np.dtype(_COMPONENTS[accessor["componentType"]])
        values: Array = self._values(accessor, view, dtype).astype(np.float32)
        if dtype.kind == "f" or not accessor.get("normalized", False):
            return values
        fractions: Array = np.maximum(values / np.iinfo(dtype).max, -1)
        return fractions

    def _values(self, accessor: dict[str, Any], view: dict[str, Any], dtype: np.dtype[Any]) -> Any:
        count, width = int(accessor["count"]), _WIDTHS[accessor["type"]]
        start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
        step = int(view.get("byteStride", dtype.itemsize * width))
        end = start + step * (count - 1) + dtype.itemsize * width
        if count < 1 or start < 0 or step < dtype.itemsize * width or end > len(self.binary):
            raise ValueError(f"an accessor ends at byte {end:,} of {len(self.binary):,}")
        strides = (step, dtype.itemsize)
        return np.ndarray((count, width), dtype, self.binary, start, strides)

    def _check_nodes(self, mesh: int) -> None:
        nodes = self.document.get("nodes", [])
        parents = {child: k for k, node in enumerate(nodes) for child in node.get("children", [])}
        path = [k for k, node in enumerate(nodes) if node.get("mesh") == mesh]
        above: set[int] = set()
        while path:
            k = path.pop()
            above.add(k)
            if k in parents and parents[k] not in above:
                path.append(parents[k])
        moved = sorted(name for k in above for name in _MOVES & set(nodes[k]))
        if moved:
            raise ValueError(f"a node has a {moved[0]}, which is not read; apply it to the numbers")


def open_glb(data: bytes) -> Glb:
    """Open a .glb file of version 2."""
    magic, version, length = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != 2 or length > len(data):
        raise ValueError("it is not binary glTF 2.0, or it is cut off")
    parts: dict[int, bytes] = {}
    at = _HEADER.size
    while at < length:
        size, kind = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        parts.setdefault(kind, data[at : at + size])
        at += size
    document = json.loads(parts.get(_JSON, b""))
    if not isinstance(document, dict):
        raise ValueError("its JSON part is no object")
    return Glb(document, parts.get(_BIN, b""))


def pack_glb(document: dict[str, Any], binary: bytes) -> bytes:
    """The bytes of a file with these two parts."""
    text = json.dumps(document, separators=(",", ":")).encode()
    chunks = b""
    for kind, part, filler in ((_JSON, text, b" "), (_BIN, binary, b"\0")):
        padded = part + filler * (-len(part) % 4)
        chunks += _CHUNK.pack(len(padded), kind) + padded
    return _HEADER.pack(_MAGIC, 2, _HEADER.size + len(chunks)) + chunks
