import json
from pathlib import Path

import pytest
from tiny_heads import write_heads

from jobs.cli import main
from jobs.head_stats import StatsOptions, dataset_stats, stats
from pipeline.digital_human import dataset as dataset_module
from pipeline.digital_human import sample_appearance, sample_identity
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.index import write_index
from pipeline.digital_human.store import prepare, write_sequence
from pipeline.errors import UnreadableSource, UsageError
from pipeline.storage import locate

TINY = DatasetOptions(
    size_px=32, samples=1, appearances=2, elevations_deg=(10.0, 0.0), views_per_ring=2
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = locate(str(tmp_path_factory.mktemp("heads")))
    prepare(root, TINY)
    for number in (0, 1, 18):
        write_sequence(root, TINY, number)
    return root.uri


def test_people_are_counted_once_and_appearances_each(address: str) -> None:
    record = dataset_stats(address, check=50)
    assert (record["sequences"], record["identities"], record["held_out"]) == (3, 2, 1)
    assert (record["views"], record["checked"]) == (12, 3)
    people = [sample_identity(seed) for seed in (0, 9)]
    assert sum(record["hair_style"].values()) == 2
    assert set(record["sex"]) == {person.sex for person in people}
    assert set(record["ancestry"]) <= {"african", "asian", "caucasian"}
    worn = [sample_appearance(people[0], k).accessory or "none" for k in (0, 1)]
    worn.append(sample_appearance(people[1], 0).accessory or "none")
    assert record["accessory"] == {name: worn.count(name) for name in record["accessory"]}
    assert sum(record["expression"].values()) == 3
    assert min(p.melanin for p in people) <= record["melanin"]["50%"]
    assert 0.1 < record["coverage"] < 0.6
    assert record["head_cut"] == 0
    assert record["bytes"] > 1000


def test_labels_need_no_picture_and_no_sequence_file_is_opened(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_index(locate(address))

    def refuse(*_: object) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(dataset_module, "decode_png", refuse)
    assert main(["heads", "stats", address, "--check", "0", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["sequences"], record["checked"], record["coverage"]) == (3, 0, None)
    assert main(["heads", "stats", address, "--check", "0"]) == 0
    assert "hair_style" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="was decoded"):
        dataset_stats(address, check=1)


def test_an_empty_dataset_has_no_shares(tmp_path: Path) -> None:
    write_heads(tmp_path, (), 16)
    record = dataset_stats(str(tmp_path), check=5)
    assert (record["sequences"], record["melanin"], record["head_cut"]) == (0, {}, None)


def test_mistakes_are_named(tmp_path: Path, address: str) -> None:
    with pytest.raises(UnreadableSource, match="heads render"):
        dataset_stats(str(tmp_path), check=1)
    assert main(["heads", "stats", address, "--check=-1"]) == 2
    with pytest.raises(UsageError, match="check is -1"):
        stats(StatsOptions(address=address, check=-1))
