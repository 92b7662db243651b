"""The manifest of the online service for KubeRay, as tests/system/test_kubernetes.py has the job's.

tests/system/kuberay/rayservice.schema.json is made by reduce.py beside it from KubeRay 1.7.0's
definition of RayService, which is Copyright the KubeRay authors, Apache-2.0; texts were removed.
"""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from deployments.options import ServiceOptions

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deployments" / "kubernetes" / "rayservice.yaml"


@pytest.fixture
def manifest() -> dict[str, Any]:
    return json.loads(json.dumps(yaml.safe_load(FILE.read_text())))


@pytest.fixture
def service(manifest: dict[str, Any]) -> ServeDeploySchema:
    return ServeDeploySchema(**yaml.safe_load(manifest["spec"]["serveConfigV2"]))


def test_kuberay_accepts_the_service_and_no_misspelt_one(manifest: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "kuberay" / "rayservice.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(manifest)) == []
    manifest["spec"]["serveConfig"] = manifest["spec"].pop("serveConfigV2")
    assert list(validator.iter_errors(manifest)) != []


def test_ray_serve_and_headsplat_take_the_configuration(service: ServeDeploySchema) -> None:
    (application,) = service.applications
    assert application.import_path == "deployments.app:build"
    options = ServiceOptions(**application.args)
    assert options.output.startswith("s3://")  # pods share no folder
    assert options.database is None  # it comes from the secret, as HEADSPLAT_DATABASE
    assert options.scaling.max_replicas == options.gpus


def test_it_is_closed_and_fits_the_rest(
    manifest: dict[str, Any], service: ServeDeploySchema
) -> None:
    cluster = manifest["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert cluster["rayVersion"] == pinned[1]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["maxReplicas"] == service.applications[0].args["gpus"]
    image = yaml.safe_load((ROOT / "cluster.yaml").read_text())["docker"]["image"]
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == image
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert {"secretRef": {"name": "headsplat-database"}} in container["envFrom"]
