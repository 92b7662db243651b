"""How onnxruntime is set up, and what it raises for files it cannot load."""

from pathlib import Path
from typing import Any

from pipeline.errors import ModelNotFound


def open_session(path: str | Path, threads: int) -> Any:
    """A session on the CPU with a network of a model folder.

    Raises:
        ModelNotFound: the file is missing or damaged.
    """
    import onnxruntime

    if not Path(path).is_file():
        name = Path(path).stem
        raise ModelNotFound(f"{path} is missing; give a model folder with a {name} network")
    try:
        return onnxruntime.InferenceSession(
            str(path), session_options(threads), providers=["CPUExecutionProvider"]
        )
    except load_errors() as error:
        raise ModelNotFound(f"{path} cannot be loaded ({error}); copy it again") from None


def session_options(threads: int) -> Any:
    """Options of a session with so many threads, which never spin while they wait.

    A spinning pool would steal the cores of the stages beside this one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def load_errors() -> tuple[type[Exception], ...]:
    """What loading a missing, truncated or foreign file raises; onnxruntime has no common base."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile")
    raised = (getattr(state, name) for name in (*names, "NoModel", "NotImplemented"))
    return (*raised, DecodeError, OSError, RuntimeError, ValueError, AssertionError)
