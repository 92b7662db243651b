import pytest

from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.expression import sample_appearance
from pipeline.digital_human.identity import sample_identity
from pipeline.digital_human.store import is_held_out
from pipeline.errors import UsageError
from pipeline.evaluation.paper_set import check_paper_options, paper_sequences

FROZEN = [
    92, 93, 94, 95, 96, 190, 191, 192, 194, 197, 290, 293, 294, 296, 297, 390, 391, 393, 394, 395,
    490, 491, 492, 493, 495, 590, 592, 593, 594, 595, 690, 691, 692, 694, 695, 790, 791, 794, 795,
    796, 890, 892, 894, 896, 897, 990, 991, 992, 993, 994,
]  # fmt: skip


def test_the_set_is_frozen() -> None:
    """Whoever renders it gets these people in these expressions: published numbers rest on it."""
    assert paper_sequences() == FROZEN


def test_it_is_ten_held_out_people_with_five_expressions_each() -> None:
    shown: dict[int, list[str]] = {}
    for sequence in paper_sequences():
        person, number = divmod(sequence, 10)
        assert is_held_out(person)
        appearance = sample_appearance(sample_identity(person), number)
        assert appearance.accessory is None
        shown.setdefault(person, []).append(appearance.expression)
    assert len(shown) == 10
    assert all(len(set(expressions)) == 5 for expressions in shown.values())


def test_a_shorter_run_has_the_first_people() -> None:
    assert paper_sequences(2) == paper_sequences()[:10]


@pytest.mark.parametrize("wrong", [{"seed": 1}, {"appearances": 1}, {"look": "cartoon"}])
def test_a_dataset_of_other_people_is_refused(wrong) -> None:
    check_paper_options(DatasetOptions())
    with pytest.raises(UsageError, match=f"the paper's test set has {next(iter(wrong))}"):
        check_paper_options(DatasetOptions(**wrong))
