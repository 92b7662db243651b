"""``headsplat cluster check``: what is wrong with a cluster.yaml, before anything is started."""

import copy
import json as json_module
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from jobs.cluster_lint import Config, Finding, lint
from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Check a cluster launcher file for AWS; nothing is started and nobody is asked.

    Example: headsplat cluster check cluster.yaml

    Attributes:
        file: the file.
        json: print one JSON object.
    """

    file: tyro.conf.Positional[Path] = Path("cluster.yaml")
    json: bool = False


def check(options: CheckOptions) -> int:
    """Print what to change, each with its line; exit code 0 if there is nothing, else 1.

    Raises:
        UsageError: the file cannot be read, or is for another provider.
    """
    text, config = _read(options.file)
    findings = _refused_by_ray(config) or lint(config)
    records = [_record(finding, text) for finding in findings]
    if options.json:
        print(json_module.dumps({"file": str(options.file), "findings": records}))
        return int(bool(records))
    for record in sorted(records, key=lambda record: int(record["line"])):
        value = "" if record["value"] is None else f" is {record['value']!r}"
        print(f"{options.file}:{record['line']}: {record['key']}{value}: {record['fix']}")
    unset = sum(finding.unset for finding in findings)
    print(f"{len(findings) - unset} to change, {unset} to set" if findings else "nothing to change")
    return int(bool(findings))


def _read(file: Path) -> tuple[str, Config]:
    import yaml

    try:
        text = file.read_text("utf-8")
        config = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UsageError(f"{file} is no cluster file: it has no keys")
    provider = (config.get("provider") or {}).get("type")
    if provider != "aws":
        raise UsageError(f"{file} is for the provider {provider!r}; only aws can be checked")
    return text, config


def _refused_by_ray(config: Config) -> list[Finding]:
    """What Ray's schema and its own checks say; the launcher would not even begin."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray").setLevel(logging.WARNING)
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except ValidationError as error:
        return [Finding(tuple(error.absolute_path), None, f"Ray refuses it: {error.message}")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [Finding((), None, f"Ray refuses it: {error}")]
    return []


def _record(finding: Finding, text: str) -> dict[str, Any]:
    return {
        "line": _line(text, finding.path),
        "key": ".".join(map(str, finding.path)) or "file",
        "value": finding.value,
        "fix": finding.fix,
        "unset": finding.unset,
    }


def _line(text: str, path: tuple[str | int, ...]) -> int:
    """The line of a key, or of the nearest key above it that is there."""
    import yaml

    node = yaml.compose(text)
    line = 1
    for step in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = (node.value[step], node.value[step])
        if found is None:
            break
        line = found[0].start_mark.line + 1
        node = found[1]
    return line
