"""``headsplat evaluate study`` and ``evaluate tally``: which method people prefer."""

import json as json_module
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jobs.options import named_folders
from pipeline.errors import UsageError

PAGE, KEY = "study.html", "key.json"
SIZES_PX = (64, 1024)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Make a page that asks people which method's heads they prefer, without naming the methods.

    Example: headsplat evaluate study ours=renders/ours lgm=renders/lgm -o study/

    Attributes:
        methods: NAME=FOLDER for each method, the folder with one picture for each subject,
            SUBJECT.png, .jpg or .webp, still or moving; or SUBJECT/turntable.webp; or a folder
            SUBJECT of frames.
        output: folder for study.html, which is to be given away, and key.json, which is not.
        portraits: folder with the photo of each subject, to be shown beside the pictures.
        ask: what people are asked.
        seed: of the orders.
        size_px: side of the pictures in the page.
        json: print where the files are, and their numbers, as JSON.
    """

    methods: tyro.conf.Positional[tuple[str, ...]]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    portraits: Path | None = None
    ask: str = "Which head looks better?"
    seed: int = 0
    size_px: int = 384
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class TallyOptions:
    """Count the answers of a study.

    Example: headsplat evaluate tally study/key.json answers/ --evaluation evaluation/

    Attributes:
        key: the key.json that was written beside the page.
        answers: files that people saved, or folders of them.
        evaluation: output folder of headsplat evaluate, whose tables get a column of the shares
            of the methods that it names, as in avatar=FOLDER.
        json: print the shares as JSON.
    """

    key: tyro.conf.Positional[Path]
    answers: tyro.conf.Positional[tuple[Path, ...]]
    evaluation: Path | None = None
    json: bool = False


def study(options: StudyOptions) -> int:
    """Write the page and its key; return the exit code.

    Raises:
        UsageError: the methods or pictures cannot be compared, or a number is out of range.
    """
    from pipeline.evaluation.study import draw_study
    from pipeline.evaluation.study_page import study_page

    least, most = SIZES_PX
    if not least <= options.size_px <= most:
        raise UsageError(f"size-px is {options.size_px}; it must be {least} to {most}")
    methods = named_folders(options.methods)
    drawn = draw_study(methods, options.portraits, options.ask, options.seed, options.size_px)
    options.output.mkdir(parents=True, exist_ok=True)
    page, key = options.output / PAGE, options.output / KEY
    page.write_text(study_page(drawn))
    key.write_text(json_module.dumps(drawn.key(), indent=1))
    size_mb = page.stat().st_size / 1e6
    if options.json:
        record = {"study": drawn.id, "page": str(page), "key": str(key), "page_mb": size_mb}
        print(json_module.dumps({**record, "questions": len(drawn.questions)}))
    else:
        print(
            f"{page}: {len(drawn.questions)} questions, {size_mb:.1f} MB; give this file to people"
            f"\n{key}: says whose pictures are whose; keep it, headsplat evaluate tally needs it"
        )
    return 0


def tally(options: TallyOptions) -> int:
    """Count the answers and print the shares; return the exit code.

    Raises:
        UsageError: a file is missing, damaged or of another study, or the evaluation names none
            of the methods.
    """
    from jobs.evaluation_files import add_study
    from pipeline.evaluation.tally import count_answers, tally_table

    files = _files(options.answers)
    found = count_answers(_read(options.key), {str(path): _read(path) for path in files})
    if options.evaluation is not None:
        add_study(options.evaluation, found)
    print(json_module.dumps(found) if options.json else tally_table(found))
    return 0


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path} holds no .json file; give what people saved")
        files += inside
    if not files:
        raise UsageError("no answers were given; give the files that people saved")
    return files


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json_module.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object; give a file that the page saved")
    return found
