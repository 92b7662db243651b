"""cluster.yaml bootstrapped and grown by Ray's own AWS launcher, against moto's simulated AWS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
Config = dict[str, Any]

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning"),  # of the launcher and of moto
    pytest.mark.filterwarnings(r"ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, list[Any]]]:
    """The file as the launcher completes it, and one machine of every type."""
    import boto3
    from moto.server import ThreadedMotoServer
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.commands import _bootstrap_config

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # gets a key pair
        ready = _bootstrap_config(_set_up(boto3), no_config_cache=True)
        provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
        for name, node in ready["available_node_types"].items():
            kind = "head" if name == ready["head_node_type"] else "worker"
            tags = {"ray-node-name": name, "ray-node-type": kind, "ray-user-node-type": name}
            provider.create_node(node["node_config"], tags, 1)
        ec2 = boto3.resource("ec2", region_name=ready["provider"]["region"])
        yield ready, [ec2, *ec2.instances.all()]
    server.stop()


def _set_up(boto3: Any) -> Config:
    """The file with what a user sets; the account has the profile that it names."""
    text = (ROOT / "cluster.yaml").read_text()
    region = yaml.safe_load(text)["provider"]["region"]
    images = boto3.client("ec2", region_name=region).describe_images(Owners=["amazon"])["Images"]
    iam = boto3.client("iam", region_name=region)
    iam.create_instance_profile(InstanceProfileName="headsplat-s3")
    return yaml.safe_load(text.replace("ami-00000000000000000", images[0]["ImageId"]))


def test_the_launcher_fills_in_what_the_machines_have(launched: tuple[Config, list[Any]]) -> None:
    types = launched[0]["available_node_types"]
    assert (types["head"]["resources"]["CPU"], types["head"]["resources"]["GPU"]) == (0, 0)
    workers = {name: node["resources"] for name, node in types.items() if name != "head"}
    assert {(has["CPU"], has["GPU"]) for has in workers.values()} == {(16, 1)}
    assert {name: has.get("preference", 0) for name, has in workers.items()} == {
        "gpu_spot_l4": 3,
        "gpu_spot_a10g": 2,
        "gpu_spot_l40s": 1,
        "gpu_on_demand": 0,
    }


def test_machines_are_spot_or_not_and_have_the_profile(launched: tuple[Config, list[Any]]) -> None:
    _, (_, *instances) = launched
    spot = {}
    for instance in instances:
        tags = {tag["Key"]: tag["Value"] for tag in instance.tags}
        spot[tags["ray-user-node-type"]] = instance.instance_lifecycle == "spot"
        assert instance.iam_instance_profile["Arn"].endswith("/headsplat-s3")
    assert spot == {
        "head": False,
        "gpu_spot_l4": True,
        "gpu_spot_a10g": True,
        "gpu_spot_l40s": True,
        "gpu_on_demand": False,
    }


def test_there_is_a_subnet_in_every_zone(launched: tuple[Config, list[Any]]) -> None:
    ready, (ec2, *_) = launched
    zones = set(ready["provider"]["availability_zone"].split(","))
    for node in ready["available_node_types"].values():
        subnets = node["node_config"]["SubnetIds"]
        assert {ec2.Subnet(subnet).availability_zone for subnet in subnets} == zones


def test_only_ssh_is_open(launched: tuple[Config, list[Any]]) -> None:
    _, (ec2, *instances) = launched
    groups = {group["GroupId"] for instance in instances for group in instance.security_groups}
    rules = [rule for group in groups for rule in ec2.SecurityGroup(group).ip_permissions]
    from_outside = [rule for rule in rules if rule["IpRanges"] or rule.get("Ipv6Ranges")]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]
    inside = {pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]}
    assert inside <= groups
