"""cluster.yaml against Ray's own schema and against what Ray's schema lets through."""

import copy
import json
import re
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import cluster_lint
from jobs.cli import main
from jobs.cluster_lint import CUDA_ARCHITECTURE, RULES, gpus_of, lint
from jobs.spot import score

ROOT = Path(__file__).parents[2]
Config = dict[str, Any]
Damage = Callable[[Config], None]


@pytest.fixture
def config() -> Config:
    """The file with everything set that a user has to set; no anchor shares anything."""
    text = (ROOT / "cluster.yaml").read_text()
    text = text.replace("ami-00000000000000000", "ami-0123").replace("YOUR-REGISTRY", "registry")
    return json.loads(json.dumps(yaml.safe_load(text)))


def node(config: Config, name: str = "gpu_spot_l4") -> Config:
    return config["available_node_types"][name]


def test_only_placeholders_are_left_to_set() -> None:
    found = lint(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    assert {finding.value for finding in found} == {
        "ami-00000000000000000",
        "YOUR-REGISTRY/headsplat:0.1.0-ray2.60.0",
    }
    assert all(finding.unset for finding in found)


def test_ray_accepts_the_file(config: Config) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    ready = prepare_config(copy.deepcopy(config))
    validate_config(ready)
    assert ready["available_node_types"]["head"]["max_workers"] == 0
    assert ready["available_node_types"]["gpu_spot_l4"]["min_workers"] == 0
    assert ready["setup_commands"] == []


def _rename_head(config: Config) -> None:
    config["head_node_type"] = "nobody"


def _half_a_gpu(config: Config) -> None:
    node(config)["resources"] = {"GPU": 0.5}


def _typo(config: Config) -> None:
    config["idle_timeout_minuets"] = 5


def _crossed(config: Config) -> None:
    node(config)["min_workers"] = 20


@pytest.mark.parametrize("damage", [_rename_head, _half_a_gpu, _typo, _crossed])
def test_what_ray_refuses_is_said_in_a_line(
    config: Config, damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(config)
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(config))
    assert main(["cluster", "check", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "Ray refuses it" in shown
    assert len(shown.splitlines()) == 2


def _cut(where: str, *names: str) -> Damage:
    """Remove a key of the first spot type, or of the file."""

    def damage(config: Config) -> None:
        target = node(config) if where == "node" else config
        for name in names[:-1]:
            target = target[name]
        del target[names[-1]]

    return damage


def _put(value: Any, *names: Any) -> Damage:
    def damage(config: Config) -> None:
        target: Any = config
        for name in names[:-1]:
            target = target[name]
        target[names[-1]] = value

    return damage


def _replace(key: str, index: int, old: str, new: str) -> Damage:
    def damage(config: Config) -> None:
        assert old in config[key][index]
        config[key][index] = config[key][index].replace(old, new)

    return damage


def _one_type(config: Config) -> None:
    for name in ("gpu_spot_a10g", "gpu_spot_l40s"):
        del config["available_node_types"][name]


def _all_on_demand(config: Config) -> None:
    for name in list(config["available_node_types"]):
        node(config, name)["node_config"].pop("InstanceMarketOptions", None)


TYPES = "available_node_types"
L4 = (TYPES, "gpu_spot_l4")
HEAD_START, WORKER_START = "head_start_ray_commands", "worker_start_ray_commands"
WORLD = {"FromPort": 8265, "ToPort": 8265, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
DAMAGED: list[tuple[str, Damage, str]] = [
    ("machines", _cut("node", "node_config", "InstanceType"), "name one"),
    ("machines", _cut("node", "node_config", "ImageId"), "AMI"),
    ("machines", _cut("node", "node_config", "IamInstanceProfile"), "profile"),
    ("gpu_counts", _put({"GPU": 4}, *L4, "resources"), "g6.4xlarge has 1"),
    ("gpu_counts", _put("m6i.large", *L4, "node_config", "InstanceType"), "GPU families"),
    ("idle_head", _put({}, TYPES, "head", "resources"), "no actor runs on the head"),
    ("idle_head", _put({"CPU": 8, "GPU": 0}, TYPES, "head", "resources"), "set 0"),
    ("no_idle_cost", _put(1, *L4, "min_workers"), "costs nothing"),
    ("no_idle_cost", _put(600, "idle_timeout_minutes"), "1 to 30"),
    ("no_idle_cost", _cut("file", "idle_timeout_minutes"), "1 to 30"),
    ("spot_with_a_way_out", _all_on_demand, "no spot workers"),
    ("spot_with_a_way_out", _one_type, "second type"),
    ("spot_with_a_way_out", _cut("file", TYPES, "gpu_on_demand"), "no on-demand workers"),
    (
        "spot_with_a_way_out",
        _put({"preference": 3}, TYPES, "gpu_on_demand", "resources"),
        "dear machines come first",
    ),
    (
        "spot_with_a_way_out",
        _replace(HEAD_START, 1, "RAY_enable_autoscaler_v2=0", ""),
        "asked for for ever",
    ),
    (
        "spot_with_a_way_out",
        _replace(HEAD_START, 1, "jobs.spot.score", "mine"),
        "asked for for ever",
    ),
    ("zones_and_reuse", _put("us-west-2a", "provider", "availability_zone"), "two zones"),
    ("zones_and_reuse", _cut("file", "provider", "cache_stopped_nodes"), "false"),
    ("tokens", _cut("file", "auth"), "launcher needs it"),
    ("tokens", _replace(HEAD_START, 1, "RAY_AUTH_MODE=token", ""), "runs code"),
    ("tokens", _replace(WORKER_START, 1, "RAY_AUTH_MODE=token", ""), "runs code"),
    ("tokens", _put(["ray stop"], WORKER_START), "runs code"),
    ("tokens", _put({"/home/ray/x": "."}, "file_mounts"), "auth_token"),
    ("closed_ports", _replace(HEAD_START, 1, "127.0.0.1", "10.0.0.1"), "dashboard"),
    ("closed_ports", _replace(HEAD_START, 1, "--dashboard-host=127.0.0.1", ""), "dashboard"),
    (
        "closed_ports",
        _replace(WORKER_START, 1, "ray start", "ray start --node-ip-address=0.0.0.0"),
        "everybody",
    ),
    (
        "closed_ports",
        _put({"IpPermissions": [WORLD]}, "provider", "security_group"),
        "open to the Internet",
    ),
    ("closed_ports", _put(["-p 8265:8265"], "docker", "run_options"), "opens the container"),
    ("image", _put("rayproject/ray:2.40.0-py311", "docker", "image"), "ray2.60.0"),
    ("image", _put("registry/headsplat", "docker", "image"), "tag"),
    ("shared_memory", _put([], "docker", "run_options"), "--shm-size"),
    (
        "shared_memory",
        _replace(WORKER_START, 1, "--address", "--object-store-memory=30000000000 --address"),
        "Ray does not start",
    ),
    ("placeholders", _put("sg-0000", *L4, "node_config", "SecurityGroupIds"), "before use"),
]


def test_nothing_is_found_in_the_file_once_it_is_set(config: Config) -> None:
    assert lint(config) == []


@pytest.mark.parametrize(("rule", "damage", "said"), DAMAGED)
def test_damage_is_found_by_its_rule(config: Config, rule: str, damage: Damage, said: str) -> None:
    damage(config)
    found = list(getattr(cluster_lint, rule)(config))
    assert any(said in finding.fix for finding in found)
    assert {finding.path for finding in lint(config)} >= {finding.path for finding in found}


def test_every_rule_has_its_damage() -> None:
    assert {rule for rule, _, _ in DAMAGED} == {rule.__name__ for rule in RULES}


def test_a_finding_names_its_line_key_value_and_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    text = (
        (ROOT / "cluster.yaml")
        .read_text()
        .replace("idle_timeout_minutes: 5", "idle_timeout_minutes: 500")
    )
    file.write_text(text)
    line = 1 + [part.split(":")[0] for part in text.splitlines()].index("idle_timeout_minutes")
    assert main(["cluster", "check", str(file)]) == 1
    shown = capsys.readouterr().out
    assert f"mine.yaml:{line}: idle_timeout_minutes is 500: 1 to 30" in shown
    assert "1 to change, 2 to set" in shown
    assert main(["cluster", "check", str(file), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["unset"] for finding in findings].count(False) == 1


def test_files_that_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "check", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err
    (tmp_path / "local.yaml").write_text("provider: {type: local}")
    assert main(["cluster", "check", str(tmp_path / "local.yaml")]) == 2
    assert "only aws can be checked" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("a: [")
    assert main(["cluster", "check", str(tmp_path / "bad.yaml")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_image_is_built_for_the_cluster(config: Config) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"FROM rayproject/ray:{pinned[1]}-py311-cu" in dockerfile
    built = re.search(r'CUDA_ARCHITECTURES="([\d.;]+)"', dockerfile)
    assert built is not None
    used = {
        CUDA_ARCHITECTURE[item["node_config"]["InstanceType"].partition(".")[0]]
        for item in config["available_node_types"].values()
        if gpus_of(item["node_config"]["InstanceType"])
    }
    assert used <= set(built[1].split(";"))


def test_the_image_gets_what_it_copies_and_no_more() -> None:
    lines = re.findall(
        r"^COPY (?:--\S+ )*(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    copied = {name for line in lines for name in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert ignored.count("*") == 1
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert copied >= {*packages, project["project"]["readme"], *project["project"]["license-files"]}


def _asked_for(config: Config, gpus: int, *refused: str) -> dict[str, int]:
    """What Ray's autoscaler would start for work on ``gpus`` GPUs after AWS refused some types."""
    from ray.autoscaler._private.node_provider_availability_tracker import (
        NodeAvailabilityRecord,
        NodeAvailabilitySummary,
    )
    from ray.autoscaler._private.resource_demand_scheduler import get_nodes_for

    for name, item in config["available_node_types"].items():
        if name != "head":
            item["resources"] |= {"CPU": 16, "GPU": 1}  # as the launcher does
    summary = NodeAvailabilitySummary(
        {name: NodeAvailabilityRecord(name, False, 0.0, None) for name in refused}
    )
    started, _ = get_nodes_for(
        config["available_node_types"],
        {},
        "head",
        config["max_workers"],
        [{"GPU": 1, "CPU": 1}] * gpus,
        partial(score, node_availability_summary=summary),
    )
    return dict(started)


@pytest.mark.parametrize(
    ("gpus", "refused", "started"),
    [
        (4, [], {"gpu_spot_l4": 4}),
        (14, [], {"gpu_spot_l4": 12, "gpu_spot_a10g": 2}),
        (4, ["gpu_spot_l4"], {"gpu_spot_a10g": 4}),
        (4, ["gpu_spot_l4", "gpu_spot_a10g"], {"gpu_spot_l40s": 4}),
        (4, ["gpu_spot_l4", "gpu_spot_a10g", "gpu_spot_l40s"], {"gpu_on_demand": 4}),
        (
            2,
            ["gpu_spot_l4", "gpu_spot_a10g", "gpu_spot_l40s", "gpu_on_demand"],
            {"gpu_spot_l4": 2},
        ),
    ],
)
def test_spot_comes_first_and_what_was_refused_last(
    config: Config, gpus: int, refused: list[str], started: dict[str, int]
) -> None:
    assert _asked_for(config, gpus, *refused) == started


def test_work_that_fits_no_machine_starts_none() -> None:
    assert score({"CPU": 1}, [{"GPU": 1}], "cpu", node_availability_summary=None) is None


def test_the_second_autoscaler_still_forgets_what_was_refused() -> None:
    """When this fails, cluster.yaml can go back to Ray's default, with its priorities."""
    from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import (
        CloudResourceMonitor,
    )
    from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

    monitor = CloudResourceMonitor()
    failed = InstanceUpdateEvent(
        instance_type="gpu_spot_l4", new_instance_status=Instance.ALLOCATION_FAILED
    )
    monitor.notify([failed])
    assert monitor.get_recoverable_resource_availabilities() == {}
    failed.new_instance_status = Instance.ALLOCATION_TIMEOUT
    monitor.notify([failed])
    assert monitor.get_recoverable_resource_availabilities() == {"gpu_spot_l4": 0.0}


def test_the_command_in_the_file_says_what_to_plan_for() -> None:
    comment = [line for line in (ROOT / "cluster.yaml").read_text().splitlines() if "#" in line]
    (command,) = [line for line in comment if "headsplat submit s3://" in line]
    cpus, gpus = (re.search(rf"--{name} (\d+)", command) for name in ("cpus", "gpus"))
    assert cpus is not None, "without workers, the cluster has no CPU to plan with"
    assert gpus is not None
