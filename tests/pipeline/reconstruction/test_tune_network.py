"""The paper's per-subject optimisation: tuning the network's weights for one head."""

import numpy as np
import pytest
import torch
from painted_ball import SIZE_PX, Ball

from pipeline.reconstruction.evidence import Evidence
from pipeline.reconstruction.fit_options import TuneOptions
from pipeline.reconstruction.lgm import LargeGaussianModel
from pipeline.reconstruction.optimise import tune_network
from pipeline.reconstruction.unknowns import TunedNetwork
from pipeline.rendering import render_u8

SEEN = [0, 2, 4, 6]


@pytest.fixture(scope="module")
def network() -> LargeGaussianModel:
    torch.manual_seed(0)
    model = LargeGaussianModel(
        input_px=32, down_channels=(32, 32), down_attention=(False, True), up_channels=(32, 32),
        up_attention=(True, False), layers=1, heads=4, positions="ray",
    ).eval()  # fmt: skip
    with torch.no_grad():  # the head is not lost in a fog of large Gaussians
        model.conv.bias[4:7] = -2.5
    return model


def _error(array: np.ndarray, ball: Ball) -> float:
    return float(np.square(array / 255.0 - ball.views / 255.0).mean())


def test_tuning_brings_the_network_to_this_head(ball: Ball, network: LargeGaussianModel) -> None:
    evidence = Evidence(views=ball.views, cameras=ball.cameras)
    before, after = (
        tune_network(
            network, SEEN, evidence,
            options=TuneOptions(steps=steps, network_rate=1e-3, views_per_step=3, warmup=0.1),
        )
        for steps in (1, 40)
    )  # fmt: skip
    untuned, tuned = (render_u8(one.gaussians, ball.cameras, SIZE_PX) for one in (before, after))
    assert _error(tuned, ball) < 0.5 * _error(untuned, ball)
    assert after.losses[-1] < 0.7 * after.losses[0]


def test_the_weights_are_put_back(ball: Ball, network: LargeGaussianModel) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evidence = Evidence(views=ball.views, cameras=ball.cameras)
    options = TuneOptions(steps=2, network_rate=1e-2, views_per_step=2)
    first, second = (tune_network(network, SEEN, evidence, options=options) for _ in range(2))
    assert first.gaussians.to_array().tobytes() == second.gaussians.to_array().tobytes()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_rate_rises_then_falls(network: LargeGaussianModel) -> None:
    unknowns = TunedNetwork(network, torch.zeros(1, 4, 9, 32, 32), TuneOptions(warmup=0.6))
    rates = [unknowns.rate(progress, 0) for progress in (0, 0.3, 0.6, 0.8, 1)]
    assert rates == pytest.approx([0.04, 0.5, 1, 0.5, 0], abs=1e-6)
