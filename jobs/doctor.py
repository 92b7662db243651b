"""``headsplat doctor``: what this machine can run, and what to do about the rest."""

import json as json_module
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Literal

from pipeline.errors import HeadsplatError

Level = Literal["ok", "note", "bad"]
_WANTED_GB = 6.0
_WANTED_DISK_GB = 2.0
_SHARED = "/dev/shm"  # noqa: S108 - where Ray keeps the rows, not a file of ours
_PACKAGES = ("torch", "diffusers", "transformers", "ray", "gsplat", "insightface", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Check what this machine can run.

    Example: headsplat doctor

    Attributes:
        json: print one JSON object.
    """

    json: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        what: the thing.
        level: ``bad`` keeps the main job from running, ``note`` limits it.
        text: what was found and, unless it is fine, what to do.
    """

    what: str
    level: Level
    text: str


def doctor(options: DoctorOptions) -> int:
    """Print the findings; exit code 0 if avatars can be made here, else 1."""
    findings = [check() for check in _CHECKS]
    healthy = all(finding.level != "bad" for finding in findings)
    if options.json:
        record = {"healthy": healthy, "findings": [asdict(finding) for finding in findings]}
        print(json_module.dumps(record))
        return int(not healthy)
    for finding in findings:
        print(f"  {finding.level:<5} {finding.what:<10} {finding.text}")
    print("avatars can be made here" if healthy else "avatars cannot be made here yet")
    return int(not healthy)


def _python() -> Finding:
    return Finding("python", "ok", ".".join(map(str, sys.version_info[:3])))


def _packages() -> Finding:
    versions, missing = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        text = f"missing: {', '.join(missing)}; run pip install headsplat again"
        return Finding("packages", "bad", text)
    return Finding("packages", "ok", ", ".join(versions))


def _cpu() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cpu", "ok", f"{cores} cores")


def _memory() -> Finding:
    total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if total_gb < _WANTED_GB:
        text = f"{total_gb:.1f} GiB; headsplat generate wants {_WANTED_GB:g}, headsplat make less"
        return Finding("memory", "note", text)
    return Finding("memory", "ok", f"{total_gb:.1f} GiB")


def _shared_memory() -> Finding:
    if not os.path.isdir(_SHARED):
        return Finding("shared", "note", "no /dev/shm; Ray uses files instead and is slower")
    free_gb = shutil.disk_usage(_SHARED).free / 2**30
    if free_gb < 1:
        text = f"{free_gb:.1f} GiB in /dev/shm; in a container, start it with --shm-size=2g"
        return Finding("shared", "note", text)
    return Finding("shared", "ok", f"{free_gb:.1f} GiB in /dev/shm")


def _disk() -> Finding:
    free_gb = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    level: Level = "ok" if free_gb >= _WANTED_DISK_GB else "note"
    advice = "" if level == "ok" else f"; Ray wants {_WANTED_DISK_GB:g} for its session files"
    return Finding("disk", level, f"{free_gb:.1f} GiB in {tempfile.gettempdir()}{advice}")


def _gpu() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("gpu", "bad", "torch cannot be imported; run pip install headsplat again")
    if not torch.cuda.is_available():
        text = f"none that torch {torch.__version__} can use; avatars are made on the CPU"
        return Finding("gpu", "note", text)
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    from pipeline.rasterizer.cuda import WHEEL_RECIPE, kernels_built

    if not kernels_built():
        text = f"{names}, but gsplat has no kernels for it; build them once: {WHEEL_RECIPE}"
        return Finding("gpu", "note", text)
    return Finding("gpu", "ok", f"{names}, with gsplat's kernels")


def _gpu_memory() -> Finding:
    try:
        import torch

        from pipeline.memory_plan import model_memory, plan_stage
        from pipeline.model_folder import resolve_model

        stages = model_memory(resolve_model(None))
    except (ImportError, HeadsplatError) as error:
        return Finding("gpu memory", "note", f"not known: {error}")
    needed_gb = max(stage.peak_gb(1, stage.views) for stage in stages)
    text = f"the embedded model needs {needed_gb:.1f} GB; other models: headsplat plan --model"
    if not torch.cuda.is_available():
        return Finding("gpu memory", "ok", text)
    there_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    fits = all(plan_stage(stage, there_gb).batch for stage in stages)
    return Finding("gpu memory", "ok" if fits else "note", f"{there_gb:.1f} GB; {text}")


def _model() -> Finding:
    from pipeline.errors import ModelNotFound
    from pipeline.model_folder import components, model_hash, resolve_model

    try:
        folder = resolve_model(None)
    except ModelNotFound as error:
        return Finding("model", "bad", str(error))
    size_mb = sum(part.size_bytes for part in components(folder)) / 1e6
    return Finding("model", "ok", f"embedded, {size_mb:.1f} MB, hash {model_hash(folder)}")


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _packages,
    _cpu,
    _memory,
    _shared_memory,
    _disk,
    _gpu,
    _gpu_memory,
    _model,
)
