"""A diffusion stage learns the same on two workers, and after a kill, as in one go."""

import hashlib
from pathlib import Path

import pytest
import torch
from diffusion_workers import OPTIONS, Joined, part, train_as_worker, train_until_killed

from pipeline.training.loop import train


@pytest.fixture(autouse=True)
def threads():
    """Runs here set torch's threads as workers do: sums are added up in another order else."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([state[name].flatten() for name in sorted(state)])


def files(folder: Path) -> dict[str, str]:
    paths = sorted(folder.rglob("*.safetensors"))
    return {
        str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest() for one in paths
    }


def test_two_workers_learn_what_one_process_learns_from_both_their_batches(tmp_path):
    out = tmp_path / "out"
    torch.multiprocessing.spawn(train_as_worker, (out,), nprocs=2)
    first, second = (torch.load(out / f"worker{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    joined = part(Joined)
    torch.manual_seed(OPTIONS.seed)  # last: the tiny autoencoder has a seed of its own
    start = flat(joined.build_model().state_dict())
    train(joined, tmp_path / "alone", OPTIONS)
    alone = flat(joined.model.state_dict())
    apart = (flat(first) - alone).norm() / (alone - start).norm()
    assert apart < 1e-2, apart
    assert (alone - start).norm() > 1e-2
    sharded = flat(torch.load(out / "sharded" / "checkpoint.pt", weights_only=True)["model"])
    assert (sharded - flat(first)).norm() / (flat(first) - start).norm() < 1e-2
    print(
        "apart", float(apart), float((sharded - flat(first)).norm() / (flat(first) - start).norm())
    )


@pytest.mark.slow
def test_a_killed_run_exports_the_bytes_that_an_uninterrupted_one_exports(tmp_path):
    train(part(), tmp_path / "whole", OPTIONS)
    killed = tmp_path / "killed"
    with pytest.raises(torch.multiprocessing.ProcessExitedException, match="SIGKILL"):
        torch.multiprocessing.spawn(train_until_killed, (killed,), nprocs=1)
    assert not files(killed)
    assert torch.load(killed / "checkpoint.pt", weights_only=True)["step"] == 2
    train(part(), killed, OPTIONS)
    assert files(killed) == files(tmp_path / "whole")
    assert len(files(killed)) == 3
