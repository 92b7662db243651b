"""Fixtures of the reconstruction's tests."""

import pytest
from painted_ball import Ball, paint_ball


@pytest.fixture(scope="session")
def ball() -> Ball:
    """One painted ball for all tests."""
    return paint_ball()
