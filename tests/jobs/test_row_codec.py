import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jobs.row_codec import SCHEMA, decode_rows, encode_rows

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.dictionaries(st.sampled_from("abc"), st.floats(0, 1)),
)
ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.float32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from("uvwxyz"), st.one_of(PLAIN, ARRAYS, st.binary(max_size=200))),
    max_size=4,
)


@given(ROWS)
def test_rows_survive(rows: list[dict[str, object]]) -> None:
    table = encode_rows(rows)
    assert table.schema == SCHEMA
    decoded = decode_rows(table)
    for before, after in zip(rows, decoded, strict=True):
        assert set(before) == set(after)
        for name, value in before.items():
            if isinstance(value, np.ndarray):
                found = after[name]
                assert (found.dtype, found.shape) == (value.dtype, value.shape)
                np.testing.assert_array_equal(found, value)
            else:
                assert after[name] == value
                assert type(after[name]) is type(value)


def test_arrays_are_views_of_the_payload_and_aligned() -> None:
    rows = [{"a": np.arange(3, dtype=np.uint8), "b": np.ones((5, 14), np.float32)}] * 3
    for row in decode_rows(encode_rows(rows)):
        assert not row["b"].flags.owndata
        assert row["b"].flags.aligned


def test_numbers_of_numpy_become_plain_and_objects_are_refused() -> None:
    (row,) = decode_rows(encode_rows([{"x": np.float32(0.1)}]))
    assert row["x"] == float(np.float32(0.1))
    with pytest.raises(TypeError, match="set cannot be a column"):
        encode_rows([{"x": {1}}])
    with pytest.raises(TypeError, match="'x' holds Python objects"):
        encode_rows([{"x": np.array([object()])}])
