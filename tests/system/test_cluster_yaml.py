"""cluster.yaml against Ray's own schema and against what Ray's schema lets through."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
Config = dict[str, Any]


def problems(config: Config) -> list[str]:
    """What would make the cluster fail, cost too much or stand open; empty when all is well."""
    found = [
        f"node type {name} has no {key}"
        for name, node in config["available_node_types"].items()
        for key in ("InstanceType", "ImageId", "IamInstanceProfile")
        if key not in node["node_config"]
    ]
    if "ssh_user" not in config.get("auth", {}):
        found.append("no auth.ssh_user")
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    for command in starts:
        if "ray start" in command and "RAY_AUTH_MODE=token" not in command:
            found.append(f"starts without token authentication: {command}")
        if "--head" in command and "--dashboard-host=127.0.0.1" not in command:
            found.append("the dashboard listens beyond loopback")
    if not any(target.endswith(".ray/auth_token") for target in config["file_mounts"]):
        found.append("nodes get no auth token")
    head = config["available_node_types"][config["head_node_type"]]
    if head["resources"].get("CPU") != 0:
        found.append("the head runs actors")
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if pinned is None or f"ray:{pinned[1]}-py311-cu" not in config["docker"]["image"]:
        found.append("the image's Ray is not the one in constraints.txt")
    if not any(
        node["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}
        for node in config["available_node_types"].values()
    ):
        found.append("no spot workers")
    return found


@pytest.fixture
def config() -> Config:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def prepared(config: Config) -> Config:
    from ray.autoscaler._private.util import prepare_config, validate_config

    ready = prepare_config(copy.deepcopy(config))
    validate_config(ready)
    return ready


def test_ray_accepts_the_file(config: Config) -> None:
    ready = prepared(config)
    assert ready["available_node_types"]["head"]["max_workers"] == 0
    assert ready["available_node_types"]["gpu_spot"]["min_workers"] == 0


def test_our_own_lint_finds_nothing(config: Config) -> None:
    assert problems(config) == []


def _rename_head(config: Config) -> None:
    config["head_node_type"] = "nobody"


def _half_a_gpu(config: Config) -> None:
    config["available_node_types"]["gpu_spot"]["resources"] = {"GPU": 0.5}


def _typo(config: Config) -> None:
    config["idle_timeout_minuets"] = 5


@pytest.mark.parametrize("damage", [_rename_head, _half_a_gpu, _typo])
def test_ray_refuses_damage(config: Config, damage: Callable[[Config], None]) -> None:
    from jsonschema import ValidationError

    damage(config)
    with pytest.raises((ValidationError, ValueError)):
        prepared(config)


def _open_cluster(config: Config) -> None:
    config["head_start_ray_commands"] = ["ray start --head --dashboard-host=127.0.0.1"]


def _open_dashboard(config: Config) -> None:
    config["head_start_ray_commands"] = ["RAY_AUTH_MODE=token ray start --head"]


def _no_token(config: Config) -> None:
    config["file_mounts"] = {"/home/ray/headsplat": "."}


def _no_instance_type(config: Config) -> None:
    del config["available_node_types"]["gpu_spot"]["node_config"]["InstanceType"]


def _no_auth(config: Config) -> None:
    del config["auth"]


def _old_image(config: Config) -> None:
    config["docker"]["image"] = "rayproject/ray:2.40.0-py311-cu128"


def _busy_head(config: Config) -> None:
    config["available_node_types"]["head"]["resources"] = {}


def _no_spot(config: Config) -> None:
    del config["available_node_types"]["gpu_spot"]["node_config"]["InstanceMarketOptions"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_open_cluster, "token authentication"),
        (_open_dashboard, "beyond loopback"),
        (_no_token, "no auth token"),
        (_no_instance_type, "gpu_spot has no InstanceType"),
        (_no_auth, "ssh_user"),
        (_old_image, "not the one in constraints.txt"),
        (_busy_head, "head runs actors"),
        (_no_spot, "no spot"),
    ],
)
def test_our_own_lint_finds_what_ray_lets_through(
    config: Config, damage: Callable[[Config], None], said: str
) -> None:
    damage(config)
    assert any(said in problem for problem in problems(config))


def test_the_command_in_the_file_says_what_to_plan_for() -> None:
    comment = [line for line in (ROOT / "cluster.yaml").read_text().splitlines() if "#" in line]
    (command,) = [line for line in comment if "headsplat generate s3://" in line]
    cpus, gpus = (re.search(rf"--{name} (\d+)", command) for name in ("cpus", "gpus"))
    assert cpus is not None, "without workers, the cluster has no CPU to plan with"
    assert gpus is not None
