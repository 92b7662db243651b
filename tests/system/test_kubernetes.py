"""The manifests for KubeRay against the schema of its custom resources.

tests/system/kuberay/rayjob.schema.json is made by reduce.py beside it from KubeRay 1.7.0's
definition of RayJob, which is Copyright the KubeRay authors, Apache-2.0; texts were removed.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deployments" / "kubernetes" / "rayjob.yaml"
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((Path(__file__).parent / "kuberay" / "rayjob.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def manifest() -> Manifest:
    return json.loads(json.dumps(yaml.safe_load(FILE.read_text())))


def cluster(manifest: Manifest) -> Manifest:
    return manifest["spec"]["rayClusterSpec"]


def pods(manifest: Manifest) -> list[Manifest]:
    spec = cluster(manifest)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_kuberay_accepts_the_job(
    validator: jsonschema.Draft202012Validator, manifest: Manifest
) -> None:
    assert list(validator.iter_errors(manifest)) == []


def _typo(manifest: Manifest) -> None:
    manifest["spec"]["ttlSecondAfterFinished"] = 1


def _number(manifest: Manifest) -> None:
    cluster(manifest)["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def _mode(manifest: Manifest) -> None:
    cluster(manifest)["authOptions"]["mode"] = "password"


def _pod_typo(manifest: Manifest) -> None:
    pods(manifest)[1]["tolerations"][0]["keys"] = "x"


def _no_containers(manifest: Manifest) -> None:
    del pods(manifest)[0]["containers"]


def _quantity(manifest: Manifest) -> None:
    pods(manifest)[1]["containers"][0]["resources"]["requests"]["memory"] = "56 gigabytes"


@pytest.mark.parametrize("damage", [_typo, _number, _mode, _pod_typo, _no_containers, _quantity])
def test_kuberay_refuses_damage(
    validator: jsonschema.Draft202012Validator,
    manifest: Manifest,
    damage: Callable[[Manifest], None],
) -> None:
    damage(manifest)
    assert list(validator.iter_errors(manifest)) != []


def test_the_job_costs_nothing_when_it_is_done_and_is_not_open(manifest: Manifest) -> None:
    spec = manifest["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] <= 3600
    assert cluster(manifest)["enableInTreeAutoscaling"] is True
    assert cluster(manifest)["authOptions"] == {"mode": "token"}
    assert cluster(manifest)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert [group["minReplicas"] for group in cluster(manifest)["workerGroupSpecs"]] == [0]
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods(manifest))


def test_shared_memory_fits_into_the_memory_of_its_pod(manifest: Manifest) -> None:
    for pod in pods(manifest):
        (volume,) = pod["volumes"]
        assert volume["emptyDir"]["medium"] == "Memory"
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/dev/shm"}]
        limit = container["resources"]["limits"]["memory"]
        shared = volume["emptyDir"]["sizeLimit"]
        assert int(shared.removesuffix("Gi")) <= int(limit.removesuffix("Gi")) / 2


def test_versions_and_sizes_are_those_of_the_rest(manifest: Manifest) -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert cluster(manifest)["rayVersion"] == pinned[1]
    image = yaml.safe_load((ROOT / "cluster.yaml").read_text())["docker"]["image"]
    assert {pod["containers"][0]["image"] for pod in pods(manifest)} == {image}
    (group,) = cluster(manifest)["workerGroupSpecs"]
    requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
    largest = group["maxReplicas"]
    entrypoint = manifest["spec"]["entrypoint"]
    assert f"--gpus {largest * int(requests['nvidia.com/gpu'])}" in entrypoint
    assert f"--cpus {largest * int(requests['cpu'])} " in entrypoint


def test_the_entrypoint_is_a_command_that_headsplat_takes(manifest: Manifest) -> None:
    import shlex

    import tyro

    from jobs.generate import GenerateOptions

    program, verb, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert (program, verb) == ("headsplat", "generate")
    options = tyro.cli(GenerateOptions, args=arguments)
    assert len(options.paths) == 2
