"""Model folders: where the shipped one is, what is in one, and its content hash.

A model folder follows diffusers: a subfolder per component with its config and its weights as
safetensors or ONNX. Nothing else is ever loaded from it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ModelNotFound

EMBEDDED = Path(__file__).parent / "weights" / "embedded"
"""The model that ships in the package."""
_WEIGHTS = (".safetensors", ".onnx")
_HASHED = (*_WEIGHTS, ".json", ".npz")
NOT_HASHED = ("evaluator", "training")
"""Subfolders that take no part in making avatars: one judges them, one is how the rest came."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """One subfolder of a model folder.

    Attributes:
        name: the subfolder's name.
        size_bytes: bytes of its weights.
        files: paths of its weight files, relative to the model folder.
    """

    name: str
    size_bytes: int
    files: tuple[str, ...]


def resolve_model(model: str | Path | None) -> Path:
    """The folder of ``model``; None is the embedded model.

    Raises:
        ModelNotFound: it is not a folder, or holds no weights.
    """
    folder = Path(model).expanduser() if model is not None else EMBEDDED
    if not folder.is_dir():
        raise ModelNotFound(f"{folder} is not a folder; give the folder that training wrote")
    if not any(path.suffix in _WEIGHTS for path in folder.rglob("*")):
        raise ModelNotFound(
            f"{folder} holds no {' or '.join(_WEIGHTS)} file; give the folder that training wrote"
        )
    return folder.resolve()


def model_hash(folder: Path) -> str:
    """The content hash of everything in ``folder`` that decides an avatar, 16 hex digits.

    Documents and the components in `NOT_HASHED` are left out; moving or copying the folder does
    not change the hash.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.suffix in _HASHED and inner.parts[0] not in NOT_HASHED:
            digest.update(f"{inner.as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()[:16]


def components(folder: Path) -> list[Component]:
    """The components of ``folder`` in alphabetical order."""
    found = []
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in child.rglob("*") if path.suffix in _WEIGHTS)
        if files:
            found.append(
                Component(
                    name=child.name,
                    size_bytes=sum(path.stat().st_size for path in files),
                    files=tuple(path.relative_to(folder).as_posix() for path in files),
                )
            )
    return found


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
