"""The application before it runs: options, deployments, and the config file that we ship."""

from pathlib import Path

import pytest
import toy_service
import yaml
from pydantic import ValidationError
from ray.serve import Application

import deployments
import deployments.app
from deployments.job_graph import AvatarOptions
from deployments.options import Scaling, ServiceOptions
from deployments.step_replica import step_deployment
from jobs.pools import Pool
from pipeline.errors import UsageError
from pipeline.graph import GraphOptions, build_graph, build_recipe


def test_app_is_the_application_with_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(deployments.app.app, Application)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = deployments.app.other


def test_built_before_ray_the_application_fits_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.chdir(tmp_path)
    graph = toy_service.toy_graph(tmp_path).stages(AvatarOptions(), str(tmp_path))
    for stages in (graph, build_graph(GraphOptions(), "x", build_recipe(GraphOptions()))):
        pools = deployments.app._pools(stages, ServiceOptions())
        assert sum(pool.actors * pool.cpus for pool in pools) <= 2


def test_a_deployment_is_named_after_its_stage_and_has_its_share(tmp_path: Path) -> None:
    options = GraphOptions()
    stages = build_graph(options, str(tmp_path), build_recipe(options))
    for stage in stages:
        pool = Pool(stage=stage, actors=1, cpus=0.5, gpus=stage.resources.gpus)
        made = step_deployment(pool, Scaling())
        assert made.name == stage.name
        assert made.func_or_class.__name__ == stage.name
        assert made.num_replicas == 1
        assert made.ray_actor_options["num_gpus"] == stage.resources.gpus
        batch = stage.batch_size if stage.resources.gpus else 1
        assert made.max_ongoing_requests == 2 * batch


def test_a_stage_scales_with_its_requests_and_to_zero(tmp_path: Path) -> None:
    pool = Pool(stage=toy_service.Dream(tmp_path), actors=1, cpus=1, gpus=0.5)
    scaling = Scaling(min_replicas=0, max_replicas=3, target_ongoing_requests=1.2)
    made = step_deployment(pool, scaling)
    automatic = made._deployment_config.autoscaling_config
    assert automatic is not None
    assert (automatic.min_replicas, automatic.max_replicas) == (0, 3)
    assert automatic.target_ongoing_requests == 1.2


def test_the_config_file_fits_the_options() -> None:
    file = Path(deployments.__file__).with_name("serve.yaml")
    config = yaml.safe_load(file.read_text())
    (application,) = config["applications"]
    assert application["import_path"] == "deployments.app:build"
    ServiceOptions(**application["args"])
    assert config["http_options"]["host"] == "127.0.0.1"


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="outputs"):
        ServiceOptions(outputs="x")
    options = ServiceOptions(output=str(tmp_path), stage_scaling={"Higres": Scaling()})
    with pytest.raises(
        UsageError, match="'Higres'; the stages that can be scaled are Decode, Dream, Judge"
    ):
        deployments.app.assemble(options, toy_service.toy_graph(tmp_path))


def test_addresses_hold_in_any_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADSPLAT_DATABASE", "sqlite:///other.db")
    options = ServiceOptions().resolved()
    assert options.output == str(tmp_path / "avatars")
    assert options.database == f"sqlite:///{tmp_path}/other.db"
    assert options.resolved() == options
    there = ServiceOptions(output="memory://b/c", database="postgresql://me@host/db").resolved()
    assert (there.output, there.database) == ("memory://b/c", "postgresql://me@host/db")


def test_a_job_has_its_own_seed_formats_and_folder(tmp_path: Path) -> None:
    chosen = AvatarOptions(seed=9, formats=("spz", "spz"))
    graph = toy_service.toy_graph(tmp_path)
    load, *_, export = graph.stages(chosen, str(tmp_path / "job"))
    assert load.config.recipe.seed == export.config.recipe.seed == 9
    assert export.config.destination == str(tmp_path / "job")
    assert export.config.formats == (".spz",)
    assert "avatar.ply" in chosen.files
    assert "avatar.spz" in chosen.files
