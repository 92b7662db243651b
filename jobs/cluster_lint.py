"""What Ray's own check of a cluster.yaml lets through and a user pays for later.

Ray checks the names and types of keys. The rules here ask what would leave the cluster open, make
it fail on the first machine, or let it cost without working. Each is a function from the file's
content to findings; `RULES` lists them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.spot import PREFERENCE

Config = dict[str, Any]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """One thing to change.

    Attributes:
        path: the keys that lead to it.
        value: what stands there, None if nothing does.
        fix: what is wrong and what to write instead.
        unset: a placeholder that every user has to replace, not a mistake.
    """

    path: Path
    value: Any
    fix: str
    unset: bool = False


Rule = Callable[[Config], Iterator[Finding]]

_GPUS = {
    "g4dn": {"12xlarge": 4, "metal": 8},
    "g5": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
}
"""GPUs of an instance type by family and size; other sizes of these families have one."""
CUDA_ARCHITECTURE = {
    "g4dn": "7.5",
    "g5": "8.6",
    "g6": "8.9",
    "g6e": "8.9",
    "p4d": "8.0",
    "p4de": "8.0",
    "p5": "9.0",
    "p5e": "9.0",
}
_PLACEHOLDERS = ("ami-0000", "YOUR-", "sg-0000", "subnet-0000")
_ANYWHERE = ("0.0.0.0", "::/0")  # noqa: S104 - what is looked for
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def lint(config: Config) -> list[Finding]:
    """All findings, in the order of `RULES`."""
    return [finding for rule in RULES for finding in rule(config)]


def gpus_of(instance_type: str) -> int:
    """GPUs of an AWS instance type; 0 for one without, or one that we do not know."""
    family, _, size = instance_type.partition(".")
    return _GPUS[family].get(size, 1) if family in _GPUS else 0


def _node_types(config: Config) -> Iterator[tuple[Path, str, Config, Config]]:
    for name, node in (config.get("available_node_types") or {}).items():
        node_config = node.get("node_config") or {}
        yield ("available_node_types", name), name, node, node_config


def _workers(config: Config) -> list[tuple[Path, str, Config, Config]]:
    head = config.get("head_node_type")
    return [found for found in _node_types(config) if found[1] != head]


def _is_spot(node_config: Mapping[str, Any]) -> bool:
    return (node_config.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"


def _starts(config: Config) -> Iterator[tuple[Path, str]]:
    """The commands that start Ray."""
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = config.get(key) or []
        if not any("ray start" in command for command in commands):
            yield (key,), ""
        for i, command in enumerate(commands):
            if "ray start" in command:
                yield (key, i), command


def machines(config: Config) -> Iterator[Finding]:
    """Every node type names its machine, image and profile."""
    wanted = {
        "InstanceType": "name one, such as g6.4xlarge",
        "ImageId": "name an AMI with Docker and, for GPUs, NVIDIA's driver",
        "IamInstanceProfile": "name a profile that may use your bucket; keys in files leak",
    }
    for path, _, _, node_config in _node_types(config):
        for key, fix in wanted.items():
            if not node_config.get(key):
                yield Finding((*path, "node_config", key), None, fix)


def gpu_counts(config: Config) -> Iterator[Finding]:
    """Resources that are written down are those of the machine, and workers have GPUs."""
    for path, _, node, node_config in _workers(config):
        machine = str(node_config.get("InstanceType", ""))
        said = (node.get("resources") or {}).get("GPU")
        if machine.partition(".")[0] not in _GPUS:
            if machine:
                where = (*path, "node_config", "InstanceType")
                known = ", ".join(sorted(_GPUS))
                yield Finding(where, machine, f"not one of the GPU families {known}; use one")
        elif said is not None and said != gpus_of(machine):
            fix = f"{machine} has {gpus_of(machine)}; leave GPU out and the launcher fills it in"
            yield Finding((*path, "resources", "GPU"), said, fix)


def idle_head(config: Config) -> Iterator[Finding]:
    """The head carries the job's driver and the cluster's memory, so it runs no actors."""
    name = config.get("head_node_type")
    resources = ((config.get("available_node_types") or {}).get(name) or {}).get("resources") or {}
    for resource in ("CPU", "GPU"):
        if resources.get(resource) != 0:
            where = ("available_node_types", str(name), "resources", resource)
            yield Finding(
                where, resources.get(resource), "set 0, so that no actor runs on the head"
            )


def no_idle_cost(config: Config) -> Iterator[Finding]:
    """Nothing is paid for when there is no work."""
    for path, _, node, _ in _workers(config):
        if node.get("min_workers", 0):
            yield Finding((*path, "min_workers"), node["min_workers"], "0 costs nothing when idle")
    minutes = config.get("idle_timeout_minutes")
    if minutes is None or not 0 < minutes <= 30:
        yield Finding(("idle_timeout_minutes",), minutes, "1 to 30; idle GPUs cost as busy ones do")


def spot_with_a_way_out(config: Config) -> Iterator[Finding]:
    """Spot first, of several types and zones, and on-demand machines when there are none."""
    workers = _workers(config)
    spot = [found for found in workers if _is_spot(found[3])]
    on_demand = [found for found in workers if not _is_spot(found[3])]
    types = sorted({str(found[3].get("InstanceType")) for found in spot})
    where = ("available_node_types",)
    if not spot:
        yield Finding(where, None, "no spot workers; add InstanceMarketOptions: {MarketType: spot}")
        return
    if len(types) < 2:
        yield Finding(where, types, "spot machines of one type run out; add a second type")
    if not on_demand:
        yield Finding(
            where, None, "no on-demand workers for when there is no spot machine; add one"
        )
    least = min(_preference(node) for _, _, node, _ in spot)
    for path, _, node, _ in on_demand:
        if _preference(node) >= least:
            fix = f"must be below the spot types' {least}, or dear machines come first"
            yield Finding((*path, "resources", PREFERENCE), _preference(node), fix)
    start = " ".join(command for _, command in _starts(config) if "--head" in command)
    for setting in (
        "RAY_enable_autoscaler_v2=0",
        "RAY_AUTOSCALER_UTILIZATION_SCORER=jobs.spot.score",
    ):
        if setting not in start:
            fix = f"without {setting} before ray start, a refused spot type is asked for for ever"
            yield Finding(("head_start_ray_commands",), None, fix)


def _preference(node: Config) -> int:
    return int((node.get("resources") or {}).get(PREFERENCE, 0))


def zones_and_reuse(config: Config) -> Iterator[Finding]:
    """Several zones, and no stopped machines that are kept and paid for."""
    provider = config.get("provider") or {}
    zones = [zone for zone in str(provider.get("availability_zone") or "").split(",") if zone]
    if len(zones) < 2:
        fix = "name at least two zones, with commas; one runs out of GPUs"
        yield Finding(("provider", "availability_zone"), provider.get("availability_zone"), fix)
    if provider.get("cache_stopped_nodes") is not False:
        fix = "false; a stopped spot machine cannot be used again, and its disk is paid for"
        where = ("provider", "cache_stopped_nodes")
        yield Finding(where, provider.get("cache_stopped_nodes"), fix)


def tokens(config: Config) -> Iterator[Finding]:
    """Who is not given the token cannot use the cluster; all nodes are."""
    if not (config.get("auth") or {}).get("ssh_user"):
        yield Finding(("auth", "ssh_user"), None, "the launcher needs it; ubuntu on Ubuntu's AMIs")
    for path, command in _starts(config):
        if "RAY_AUTH_MODE=token" not in command:
            fix = "put RAY_AUTH_MODE=token before ray start; without, whoever reaches it runs code"
            yield Finding(path, command, fix)
    mounts = config.get("file_mounts") or {}
    if not any(str(target).endswith("/.ray/auth_token") for target in mounts):
        fix = "mount ~/.ray/auth_token to /home/ray/.ray/auth_token"
        yield Finding(("file_mounts",), list(mounts), fix)


def closed_ports(config: Config) -> Iterator[Finding]:
    """Only ssh is reachable from outside; the dashboard listens on loopback."""
    for path, command in _starts(config):
        listens = re.search(r"--dashboard-host[= ](\S+)", command)
        if "--head" in command and (
            listens is None or listens[1] not in ("127.0.0.1", "localhost")
        ):
            fix = "--dashboard-host=127.0.0.1, and reach it by ray dashboard cluster.yaml"
            yield Finding(path, command, fix)
        elif any(address in command for address in _ANYWHERE):
            yield Finding(path, command, "listens to everybody; leave that address out")
    for i, rule in enumerate(
        (config.get("provider") or {}).get("security_group", {}).get("IpPermissions", [])
    ):
        if any(address in str(rule) for address in _ANYWHERE):
            path = ("provider", "security_group", "IpPermissions", i)
            yield Finding(path, rule, "open to the Internet; name your own addresses, or remove it")
    for i, option in enumerate((config.get("docker") or {}).get("run_options") or []):
        if re.match(r"(-p|-P|--publish|--publish-all|--privileged)\b", str(option)):
            where = ("docker", "run_options", i)
            yield Finding(where, option, "opens the container; remove it and use an ssh tunnel")


def image(config: Config) -> Iterator[Finding]:
    """The image has the Ray that is installed here: other versions do not talk to each other."""
    import ray

    docker = config.get("docker") or {}
    name = str(docker.get("image") or docker.get("head_image") or "")
    tag = name.rpartition(":")[2] if ":" in name else ""
    versions = re.findall(r"\d+\.\d+\.\d+", tag)
    if ray.__version__ not in versions:
        fix = (
            f"name an image whose tag ends in ray{ray.__version__}, the Ray that is installed here"
        )
        yield Finding(("docker", "image"), name or None, fix)


def shared_memory(config: Config) -> Iterator[Finding]:
    """The container's shared memory holds the object store."""
    options = " ".join(map(str, (config.get("docker") or {}).get("run_options") or []))
    size = re.search(r"--shm-size[= ]'?(\d+(?:\.\d+)?)\s*([bkmg])", options, re.IGNORECASE)
    if size is None:
        fix = "add --shm-size=16gb; Docker's own 64 MB make Ray put the rows on disk"
        yield Finding(("docker", "run_options"), options or None, fix)
        return
    there = float(size[1]) * _UNITS[size[2].lower()]
    for path, command in _starts(config):
        store = re.search(r"--object-store-memory[= ](\d+)", command)
        if store is not None and int(store[1]) > there:
            fix = f"at most {int(there)}, which is --shm-size, or Ray does not start"
            yield Finding(path, int(store[1]), fix)


def placeholders(config: Config) -> Iterator[Finding]:
    """What only the user knows."""

    def walk(path: Path, value: Any) -> Iterator[Finding]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from walk((*path, key), item)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                yield from walk((*path, i), item)
        elif any(mark in str(value) for mark in _PLACEHOLDERS):
            yield Finding(path, value, "set it before use", unset=True)

    first: dict[Any, Finding] = {}
    for finding in walk((), config):
        first.setdefault(finding.value, finding)  # an anchor stands in many places
    yield from first.values()


RULES: tuple[Rule, ...] = (
    machines,
    gpu_counts,
    idle_head,
    no_idle_cost,
    spot_with_a_way_out,
    zones_and_reuse,
    tokens,
    closed_ports,
    image,
    shared_memory,
    placeholders,
)
