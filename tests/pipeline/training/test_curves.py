"""Loss curves and sheets that a run leaves behind."""

import numpy as np
import torch
from PIL import Image
from test_diffusion import SIZE_PX, part
from test_loop import Line, options

from pipeline.training.curves import NEWEST, draw_curves, read_log, tiled, write_sheet
from pipeline.training.loop import train


def test_a_run_leaves_a_picture_of_its_log(tmp_path):
    train(Line(), tmp_path, options(steps=20))
    curves = read_log(tmp_path / "log.csv")
    assert set(curves) == {"loss", "error"}
    assert curves["error"][-1][0] == 20
    drawn = np.asarray(Image.open(tmp_path / "curves.png"))
    assert drawn.shape == (200, 720, 3)
    assert (drawn != 255).any()


def test_a_curve_that_falls_is_drawn_falling():
    picture = np.asarray(draw_curves({"loss": [(0, 4.0), (50, 2.0), (100, 1.0), (150, 0.5)]}))
    line = (picture == (30, 100, 200)).all(-1)
    heights = [np.flatnonzero(line[:, x]).mean() for x in (40, 120, 200, 280)]
    assert heights == sorted(heights)
    assert heights[-1] - heights[0] > 50


def test_values_that_are_no_numbers_leave_a_gap():
    draw_curves({"loss": [(0, 1.0), (1, float("nan")), (2, 2.0)], "none": [(0, float("inf"))]})


def test_only_the_newest_sheets_stay(tmp_path):
    for step in range(NEWEST + 3):
        write_sheet(tmp_path, step, np.zeros((2, 2, 3), np.uint8))
    kept = sorted(int(one.stem) for one in (tmp_path / "sheets").iterdir())
    assert kept == list(range(3, NEWEST + 3))


def test_the_sheet_of_a_diffusion_stage_shows_portrait_views_and_truth():
    stage = part()
    torch.manual_seed(0)
    with torch.no_grad():
        stage.evaluate(stage.build_model().eval())
    sheet = stage.sheet()
    assert sheet.shape == (4 * SIZE_PX, 9 * SIZE_PX, 3)
    assert np.array_equal(
        sheet[:SIZE_PX, :SIZE_PX], stage.held_out.pick("portraits", [0], [0])[0].numpy()
    )
    truth = np.concatenate(list(stage.held_out.pick("orbit", [0])[0].numpy()), 1)
    assert np.array_equal(sheet[SIZE_PX : 2 * SIZE_PX, SIZE_PX:], truth)
    assert not np.array_equal(sheet[:SIZE_PX, SIZE_PX:], truth)


def test_short_rows_are_filled_with_white():
    black = np.zeros((2, 2, 3), np.uint8)
    assert tiled([[black, black], [black]]).mean((0, 2)).tolist() == [0, 0, 127.5, 127.5]
