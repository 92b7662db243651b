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


def test_appearances_differ_by_seed_and_repeat() -> None:
    person = sample_identity(5)
    assert sample_appearance(person, 1) == sample_appearance(person, 1)
    drawn = [sample_appearance(person, seed) for seed in range(200)]
    assert {appearance.expression for appearance in drawn} == set(EXPRESSIONS)
    assert {appearance.accessory for appearance in drawn} == {None, *ACCESSORIES}


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
