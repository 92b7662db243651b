"""Training on Ray Train workers: the same weights everywhere, and a lost worker replaced."""

from pathlib import Path

import pytest
import tiny_gaussians
import torch
import work_on_workers
from ray import cloudpickle
from tiny_heads import write_heads
from work_on_workers import OPTIONS, Work, train_joined

from jobs.cli import main
from jobs.train_workers import run_on_workers
from pipeline.errors import UsageError

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # its own calls
for module in (tiny_gaussians, work_on_workers):
    cloudpickle.register_pickle_by_value(module)  # workers cannot import a test module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_heads(tmp_path / "heads", (0, 1, 2, 9), 32)


@pytest.fixture
def threads():
    """Runs here set torch's threads as workers do: sums are added up in another order else."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([state[name].flatten() for name in sorted(state)])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "threads")
def test_two_workers_of_which_one_is_killed_learn_what_one_process_learns(data, tmp_path):
    out = tmp_path / "out"
    scores = run_on_workers(Work(data, out, dies_at=2), out, 2, gpus=0)
    assert (out / "died").exists()
    assert set(scores) == {"psnr_orbit", "psnr_off_orbit"}
    first, second = weights(out / "worker0.pt"), weights(out / "worker1.pt")
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(OPTIONS.seed)
    start = flat(tiny_gaussians.small_part(data).build_model().state_dict())
    alone = flat(train_joined(data, tmp_path / "alone", OPTIONS.steps))
    apart = (flat(first) - alone).norm() / (alone - start).norm()
    assert apart < 1e-2, apart
    assert (alone - start).norm() > 1e-2


@pytest.mark.usefixtures("ray_cluster", "threads")
def test_one_worker_learns_what_this_process_learns_to_the_bit(data, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    scores = Work(data, here)()
    assert run_on_workers(Work(data, there), there, 1, gpus=0) == scores
    first, second = weights(here / "worker0.pt"), weights(there / "worker0.pt")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("ray_cluster")
def test_what_the_work_refuses_is_not_tried_again(tmp_path):
    def refuse() -> dict[str, float]:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        raise UsageError("there is nothing to train on")

    with pytest.raises(UsageError, match="there is nothing to train on"):
        run_on_workers(refuse, tmp_path, 1, gpus=0)
    assert (tmp_path / "tries").read_text() == "x"


@pytest.mark.usefixtures("ray_cluster")
def test_more_workers_than_the_cluster_carries_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--workers 2 want as many GPUs and the cluster has 1;"):
        run_on_workers(dict, tmp_path, 2)
    with pytest.raises(UsageError, match="--workers 9 want as many CPUs and the cluster has 4;"):
        run_on_workers(dict, tmp_path, 9, gpus=0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--address", "auto"], "--address and --gpus are for workers on Ray"),
        (["--workers", "-1"], "workers is -1; it must be 0 or more"),
        (["--preset", "huge"], "preset 'huge' is none of embedded, tiny, small, big"),
        (["--steps", "0"], "steps is 0; it must be more than 0"),
        (["--start-from", "x"], "gaussians cannot start from another model's weights"),
    ],
)
def test_options_that_cannot_be_met_are_refused(options, reason, tmp_path, capsys):
    given = ["train", "gaussians", "--data", str(tmp_path), "--out", str(tmp_path / "m"), *options]
    assert main(given) == 2
    assert reason in capsys.readouterr().err


def test_presets_are_for_parts_that_have_some(tmp_path, capsys):
    given = ["train", "matting", "--data", "x", "--out", str(tmp_path), "--preset", "big"]
    assert main(given) == 2
    assert "are for gaussians, lowres, highres; matting has neither" in capsys.readouterr().err
