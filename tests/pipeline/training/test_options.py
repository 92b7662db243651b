"""The learning rate's course."""

import pytest
import torch

from pipeline.training.gaussian_presets import EMBEDDED_OPTIONS, LGM_OPTIONS, PRESETS
from pipeline.training.options import TrainOptions


@pytest.mark.parametrize(("steps", "warmup_steps"), [(200, 30), (50, 5)])
def test_one_cycle_is_torchs(steps, warmup_steps):
    options = TrainOptions(steps=steps, warmup_steps=warmup_steps, one_cycle=True)
    optimizer = torch.optim.AdamW([torch.zeros(1)], options.learning_rate)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, steps, pct_start=warmup_steps / steps
    )
    for step in range(steps):
        expected = theirs.get_last_lr()[0]
        assert options.rate(step, step / steps) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


@pytest.mark.parametrize("one_cycle", [False, True])
def test_the_rate_falls_with_the_time_when_that_runs_out_first(one_cycle):
    options = TrainOptions(steps=10_000, warmup_steps=10, one_cycle=one_cycle)
    rates = [options.rate(10 + step, step / 100) for step in range(101)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(options.learning_rate, rel=1e-3)
    assert rates[-1] <= 0.0101 * options.learning_rate


def test_a_run_of_one_step_has_a_rate():
    assert TrainOptions(steps=1, one_cycle=True).rate(0, 0) > 0


def test_lgms_presets_are_trained_as_lgm_trains_them():
    """What the spec lists of LGM's optimiser, losses and views an item."""
    o = LGM_OPTIONS
    assert (o.learning_rate, o.betas, o.weight_decay) == (4e-4, (0.9, 0.95), 0.05)
    assert (o.warmup_steps, o.one_cycle, o.clip_norm, o.bf16) == (3_000, True, 1.0, True)
    views = {name: PRESETS[name].targets for name in ("tiny", "small", "big")}
    assert views == {"tiny": 8, "small": 12, "big": 8}
    for name in views:
        c = PRESETS[name]
        assert (c.batch_heads, c.inputs_too, c.augment, c.jitter_share) == (8, True, 0.5, 1.0)
        assert (c.alpha_weight, c.lpips_weight) == (1.0, 1.0)
        assert c.render_px == (512 if name == "big" else 256)
    assert not EMBEDDED_OPTIONS.one_cycle
