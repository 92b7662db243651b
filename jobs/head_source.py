"""A Ray Data source over datasets of digital humans: rows are views."""

from collections.abc import Iterable

import ray.data

from pipeline.digital_human.dataset import HeadDataset
from pipeline.digital_human.sequence import SCHEMA
from pipeline.digital_human.store import sequence_file
from pipeline.errors import UsageError


def read_heads(
    address: str, split: str = "train", columns: Iterable[str] | None = None
) -> ray.data.Dataset:
    """The views of a dataset as a Ray Data stream; images stay PNG bytes until a map decodes them.

    Args:
        address: folder or URI of the dataset; a folder must be one that all workers see.
        split: ``train``, ``test`` (held-out identities) or ``all``.
        columns: columns to read, see docs/formats.md; None reads all. Without ``image``, no
            picture is read.

    Raises:
        UsageError: the split is unknown or empty, or there is no such column.
        UnreadableSource: there is no dataset.
    """
    heads = HeadDataset(address, split)
    if not len(heads):
        raise UsageError(f"the {split} split of {address} holds no sequence; render some first")
    chosen = list(SCHEMA.names if columns is None else columns)
    if unknown := [name for name in chosen if name not in SCHEMA.names]:
        raise UsageError(f"column {unknown[0]!r} is none of {', '.join(SCHEMA.names)}")
    paths = [sequence_file(heads.root, number).path for number in heads.sequences]
    context = ray.data.DataContext.get_current()
    before = context.use_datasource_v2
    # the newer reader makes one block of all files, so that nothing would run side by side
    context.use_datasource_v2 = False
    try:
        # our schema: that of the first file would give its person's parameters to all
        views = ray.data.read_parquet(paths, filesystem=heads.root.filesystem, schema=SCHEMA)
    finally:
        context.use_datasource_v2 = before
    return views.select_columns(chosen)
