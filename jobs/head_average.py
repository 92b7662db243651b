"""``headsplat heads average``: the mean face of a dataset, onto which portraits are laid."""

import json as json_module
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class AverageOptions:
    """Average the faces of a dataset, which was rendered with --ground-truth at 256 px.

    Example: headsplat heads average heads/ mean_face.safetensors

    Attributes:
        address: folder or URI of the dataset; its training people are taken.
        file: the file to write.
        json: print one JSON object.
    """

    address: tyro.conf.Positional[str]
    file: tyro.conf.Positional[Path]
    json: bool = False


def average(options: AverageOptions) -> int:
    """Write the mean face; return the exit code.

    Raises:
        UsageError: the dataset has no people to average, or views of another size.
        UnreadableSource: there is no such dataset, or it has no ground truth.
    """
    from pipeline.digital_human.average_face import average_face
    from pipeline.digital_human.dataset import HeadDataset

    dataset = HeadDataset(options.address, split="train")
    face = average_face(dataset)
    face.save(options.file)
    record = {"people": len(dataset), "points": len(face.points), "file": str(options.file)}
    text = f"{record['points']} points, the mean of {record['people']} faces, in {options.file}"
    print(json_module.dumps(record) if options.json else text)
    return 0
