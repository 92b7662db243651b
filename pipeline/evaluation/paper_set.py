"""Which digital humans stand for the paper's test set: ten people, five expressions of each.

The set is a function of the engine alone, so everybody renders the same one:
``headsplat heads render TEST --protocol paper --elevations 0``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.digital_human.expression import DECK, sample_appearance
from pipeline.digital_human.identity import sample_identity
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.digital_human.dataset_options import DatasetOptions

PAPER_SEED = 0
PAPER_APPEARANCES = DECK
PAPER_IDENTITIES = tuple(range(9, 100, 10))
"""The first ten that are held out of every training."""
PAPER_EXPRESSIONS = 5


def paper_sequences(identities: int = len(PAPER_IDENTITIES)) -> list[int]:
    """Ids of the sequences, in a dataset of seed 0 with ten appearances a person.

    Of each person, the first five of the ten appearances without an accessory: no two of them show
    the same expression.

    Args:
        identities: how many people, the first ones.
    """
    return [
        identity * PAPER_APPEARANCES + number
        for identity in PAPER_IDENTITIES[:identities]
        for number in _bare_heads(identity)[:PAPER_EXPRESSIONS]
    ]


def _bare_heads(identity: int) -> list[int]:
    person = sample_identity(identity)  # of seed 0 an identity's seed is its number
    numbers = range(PAPER_APPEARANCES)
    return [number for number in numbers if sample_appearance(person, number).accessory is None]


def check_paper_options(options: "DatasetOptions") -> None:
    """Check that a dataset with these options can hold the paper's sequences.

    Raises:
        UsageError: it has another seed, number of appearances or look.
    """
    for name, wanted in (
        ("seed", PAPER_SEED),
        ("appearances", PAPER_APPEARANCES),
        ("look", "natural"),
    ):
        if getattr(options, name) != wanted:
            raise UsageError(
                f"{name} is {getattr(options, name)}; the paper's test set has {name} {wanted}"
            )


def check_paper_set(dataset: "HeadDataset", sequences: Sequence[int]) -> Sequence[int]:
    """``sequences``, once it is known that the dataset has them.

    Raises:
        UsageError: it is another dataset, or lacks one.
    """
    check_paper_options(dataset.options)
    missing = sorted({*sequences} - {*dataset.sequences})
    if missing:
        raise UsageError(
            f"{dataset.root.uri} lacks {len(missing)} of the {len(sequences)} sequences of the "
            f"paper's test set, {missing[0]} first; render them with 'headsplat heads render "
            "--protocol paper'"
        )
    return sequences
