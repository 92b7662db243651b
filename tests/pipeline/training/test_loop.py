from pathlib import Path

import torch
from torch import nn

from pipeline.training.loop import TrainOptions, train


class Line:
    """Fits a line to noisy points; small enough that a run takes milliseconds."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def build_model(self) -> nn.Module:
        norm = nn.BatchNorm1d(1)
        norm.num_batches_tracked = None  # as in `pipeline.training.layers`
        return nn.Sequential(nn.Linear(1, 1), norm, nn.Linear(1, 1))

    def batch(self, seed: int, step: int) -> torch.Tensor:
        if step == self.stop_at:
            raise KeyboardInterrupt
        return torch.randn((64, 1), generator=torch.Generator().manual_seed(seed + step))

    def loss(self, model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (model(batch) - (3 * batch + 1)).square().mean()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        points = torch.linspace(-1, 1, 9)[:, None]
        return {"error": float((model(points) - (3 * points + 1)).abs().max())}

    def export(self, model: nn.Module, out: Path) -> None:
        torch.save(model.state_dict(), out / "exported.pt")


def options(**changes):
    defaults = {"steps": 300, "learning_rate": 0.1, "warmup_steps": 1, "ema_decay": 0.9}
    return TrainOptions(**(defaults | {"bf16": False} | changes))


def exported(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "exported.pt", weights_only=True)


def test_it_learns(tmp_path):
    assert train(Line(), tmp_path, options())["error"] < 0.1


def test_a_killed_run_ends_where_an_uninterrupted_one_does(tmp_path):
    train(Line(), tmp_path / "whole", options())
    try:
        train(Line(stop_at=150), tmp_path / "killed", options(checkpoint_minutes=0))
    except KeyboardInterrupt:
        train(Line(), tmp_path / "killed", options())
    for name, value in exported(tmp_path / "whole").items():
        assert torch.equal(value, exported(tmp_path / "killed")[name]), name


def test_a_time_limit_ends_the_run(tmp_path):
    train(Line(), tmp_path, options(steps=10**9, minutes=0.01))
    assert "error" in (tmp_path / "log.csv").read_text()
