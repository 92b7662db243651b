"""Make rayjob.schema.json and rayservice.schema.json of KubeRay's definitions of its resources.

    python reduce.py ray.io_rayjobs.yaml > rayjob.schema.json
    python reduce.py ray.io_rayservices.yaml > rayservice.schema.json

The inputs are in ``ray-operator/config/crd/bases`` of a KubeRay release. Texts are
dropped, equal parts are written once, and keys that are not in the schema are refused, as
Kubernetes does with ``kubectl apply --validate=strict``.
"""

import json
import sys
from collections import Counter
from typing import Any

import yaml

_KEPT = ("type", "enum", "required", "pattern", "minimum", "maximum", "anyOf", "format")


def reduce_crd(crd: dict[str, Any], version: str = "v1") -> dict[str, Any]:
    """A JSON schema of one version of a custom resource."""
    (stored,) = [entry for entry in crd["spec"]["versions"] if entry["name"] == version]
    schema = _strict(stored["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    counts: Counter[str] = Counter()
    _count(schema, counts)
    definitions: dict[str, Any] = {}
    reduced = _shared(schema, counts, definitions, {}, top=True)
    return {**reduced, "$defs": definitions}


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    strict = {name: schema[name] for name in _KEPT if name in schema}
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    if schema.get("nullable"):
        strict["type"] = [strict["type"], "null"]
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    if "properties" in schema:
        strict["properties"] = {k: _strict(v) for k, v in schema["properties"].items()}
        filled = {k for k, v in schema["properties"].items() if "default" in v}
        strict["required"] = [k for k in schema.get("required", []) if k not in filled]
        strict["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    elif isinstance(schema.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(schema["additionalProperties"])
    return strict


def _parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    parts = list(schema.get("properties", {}).values())
    parts += [
        schema[k] for k in ("items", "additionalProperties") if isinstance(schema.get(k), dict)
    ]
    return parts


def _count(schema: dict[str, Any], counts: Counter[str]) -> None:
    counts[json.dumps(schema, sort_keys=True)] += 1
    for part in _parts(schema):
        _count(part, counts)


def _shared(
    schema: dict[str, Any],
    counts: Counter[str],
    definitions: dict[str, Any],
    names: dict[str, str],
    top: bool = False,
) -> dict[str, Any]:
    key = json.dumps(schema, sort_keys=True)
    if key in names:
        return {"$ref": f"#/$defs/{names[key]}"}
    small = dict(schema)
    if "properties" in schema:
        small["properties"] = {
            name: _shared(part, counts, definitions, names)
            for name, part in schema["properties"].items()
        }
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            small[name] = _shared(schema[name], counts, definitions, names)
    if top or counts[key] < 2 or len(key) < 60:
        return small
    names[key] = f"d{len(names)}"
    definitions[names[key]] = small
    return {"$ref": f"#/$defs/{names[key]}"}


if __name__ == "__main__":
    with open(sys.argv[1]) as stream:
        print(json.dumps(reduce_crd(yaml.safe_load(stream)), separators=(",", ":")))
