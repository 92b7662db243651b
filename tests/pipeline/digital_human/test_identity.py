import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.digital_human import Identity, sample_appearance, sample_identity
from pipeline.digital_human.assets import load_base_mesh
from pipeline.digital_human.expression import ACCESSORIES, EXPRESSIONS
from pipeline.digital_human.hair_styles import STYLES
from pipeline.digital_human.identity import AGE_GROUPS, AGE_SHARES, BEARDS, GARMENTS
from pipeline.digital_human.palette import HAIR_COLORS
from pipeline.digital_human.shape import local_pairs, macro_weights
from pipeline.errors import UsageError


@pytest.fixture(scope="module")
def crowd() -> list[Identity]:
    return [sample_identity(seed) for seed in range(500)]


def test_the_same_seed_gives_the_same_person_and_survives_json() -> None:
    first, again = sample_identity(17), sample_identity(17)
    assert first == again
    assert json.loads(json.dumps(first.to_dict())) == json.loads(json.dumps(again.to_dict()))
    assert first != sample_identity(18)


def test_a_crowd_is_diverse(crowd: list[Identity]) -> None:
    styles = Counter(person.hair_style for person in crowd)
    assert set(styles) == {"bald", "buzz", *STYLES}
    assert max(styles.values()) < 0.2 * len(crowd)
    assert set(HAIR_COLORS) == {person.hair_color for person in crowd}
    assert set(AGE_GROUPS) == {person.age_group for person in crowd}
    assert set(GARMENTS) == {person.garment for person in crowd}
    assert set(BEARDS) == {person.beard for person in crowd}
    assert 0.4 < np.mean([person.sex == "male" for person in crowd]) < 0.6
    melanin = np.array([person.melanin for person in crowd])
    pale, dark = np.quantile(melanin, [0.1, 0.9])
    assert pale < 0.3
    assert dark > 1.1


def test_a_crowd_has_the_shares_that_the_dataset_card_states() -> None:
    people = [sample_identity(seed) for seed in range(1500)]
    ages = Counter(person.age_group for person in people)
    for group, share in zip(AGE_GROUPS, AGE_SHARES, strict=True):
        assert ages[group] / len(people) == pytest.approx(share, abs=0.04)
    ancestries = np.bincount([int(np.argmax(person.ancestry)) for person in people])
    np.testing.assert_allclose(ancestries / len(people), 1 / 3, atol=0.04)
    styles = np.array(list(Counter(person.hair_style for person in people).values()))
    assert styles.min() / len(people) > 0.007
    assert styles.max() / len(people) < 0.14
    bearded = np.mean([person.beard not in ("none", "stubble") for person in people])
    assert 0.1 < bearded < 0.2


def test_no_child_and_no_woman_has_a_beard(crowd: list[Identity]) -> None:
    for person in crowd:
        if person.sex == "female" or person.age_group == "child":
            assert person.beard == "none"
        if person.age_group == "child":
            assert person.makeup is None


def test_every_weight_names_a_target(crowd: list[Identity]) -> None:
    targets = load_base_mesh().target_index
    for person in crowd[:50]:
        assert set(person.shape) <= set(targets)
        weights = np.array(list(person.shape.values()))
        assert (weights >= 0).all()
        assert (weights <= 1).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_macro_weights_are_a_partition(
    gender: float, age: float, weight: float, muscle: float, share: float
) -> None:
    ancestry = np.array([share, 1, 0.5]) / (share + 1.5)
    weights = macro_weights(gender, age, ancestry, weight, muscle)
    universal = sum(value for name, value in weights.items() if "universal" in name)
    peoples = sum(value for name, value in weights.items() if "universal" not in name)
    assert universal == pytest.approx(1)
    assert peoples == pytest.approx(1)
    assert min(weights.values()) >= 0


def test_opposite_targets_move_vertices_in_opposite_ways() -> None:
    base = load_base_mesh()
    low, high = local_pairs(base.target_index)["nose/nose-scale-vert"]
    first, second = (base.target_offsets[base.target_index[name]] for name in (low, high))
    cosine = (first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine < -0.5


def test_ten_appearances_never_repeat(crowd: list[Identity]) -> None:
    for person in crowd[:60]:
        dealt = [sample_appearance(person, number) for number in range(10)]
        bare = [appearance.expression for appearance in dealt if appearance.accessory is None]
        worn = [appearance for appearance in dealt if appearance.accessory is not None]
        assert len(bare) == len(set(bare)) == 7
        assert "neutral" in bare
        assert len({appearance.accessory for appearance in worn}) == len(worn) == 3
        assert {appearance.expression for appearance in worn} <= {"neutral", "smile"}


def test_appearances_are_decided_by_person_and_number(crowd: list[Identity]) -> None:
    def kinds(person: Identity, numbers: range) -> list[tuple[str, str | None]]:
        dealt = (sample_appearance(person, number) for number in numbers)
        return [(appearance.expression, appearance.accessory) for appearance in dealt]

    person = crowd[5]
    assert sample_appearance(person, 1) == sample_appearance(person, 1)
    assert kinds(person, range(10)) != kinds(person, range(10, 20))
    assert kinds(person, range(10)) != kinds(crowd[6], range(10))


def test_one_appearance_of_each_person_shows_everything(crowd: list[Identity]) -> None:
    drawn = [sample_appearance(person, 0) for person in crowd]
    expressions = Counter(appearance.expression for appearance in drawn)
    accessories = Counter(appearance.accessory for appearance in drawn)
    assert set(expressions) == set(EXPRESSIONS)
    assert set(accessories) == {None, *ACCESSORIES}
    assert max(expressions.values()) < 0.33 * len(drawn)
    assert min(expressions.values()) > 0.04 * len(drawn)
    assert 0.2 < 1 - accessories[None] / len(drawn) < 0.4


def test_what_is_forced_is_shown() -> None:
    person = sample_identity(5)
    for number in range(10):
        laughing = sample_appearance(person, number, expression="laugh")
        assert (laughing.expression, laughing.accessory) == ("laugh", None)
        capped = sample_appearance(person, number, accessory="cap")
        assert capped.accessory == "cap"
        assert capped.expression in ("neutral", "smile")
        both = sample_appearance(person, number, expression="sad", accessory="hat")
        assert (both.expression, both.accessory) == ("sad", "hat")


def test_every_expression_is_made_of_targets_that_exist() -> None:
    targets = load_base_mesh().target_index
    for name in EXPRESSIONS:
        weights = sample_appearance(sample_identity(0), 0, expression=name).unit_weights
        assert set(weights) <= set(targets)
        assert max(weights.values()) <= 1.4


def test_a_wrong_name_is_refused_with_the_right_ones() -> None:
    with pytest.raises(UsageError, match=r"'grin' is none of neutral, smile"):
        sample_appearance(sample_identity(0), 0, expression="grin")
    with pytest.raises(UsageError, match=r"'crown' is none of glasses"):
        sample_appearance(sample_identity(0), 0, accessory="crown")
