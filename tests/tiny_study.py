"""A study of three heads by two methods, and people who answer it."""

from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from pipeline.evaluation.study import Study, draw_study

SUBJECTS = ("anna", "bert", "carl")
METHODS = ("avatar", "panohead")
_COLORS = {"avatar": "teal", "panohead": "orange"}


def write_renders(folder: Path) -> dict[str, Path]:
    """A folder of plain pictures for each method, in its own format and size."""
    for method, size, ending in (("avatar", (40, 40), "png"), ("panohead", (64, 48), "jpg")):
        (folder / method).mkdir(parents=True)
        for subject in SUBJECTS:
            note = PngImagePlugin.PngInfo()
            note.add_text("Software", f"made by {method}")
            picture = Image.new("RGB", size, _COLORS[method])
            picture.save(folder / method / f"{subject}.{ending}", pnginfo=note)
    return {method: folder / method for method in METHODS}


def tiny_study(folder: Path, seed: int = 0, **more: Any) -> Study:
    """The study of `write_renders`."""
    chosen = {"portraits": None, "ask": "Which?", "size_px": 32, **more}
    return draw_study(write_renders(folder), seed=seed, **chosen)


def answers(key: dict[str, Any], respondent: str, *methods: str) -> dict[str, Any]:
    """What a person's browser saves who chose these methods, question by question."""
    given = []
    for question, method in zip(key["questions"], methods, strict=False):
        tokens = list(question["methods"])
        (choice,) = (token for token in tokens if question["methods"][token] == method)
        token = question["seen"][0]
        given.append({"question": token, "choice": choice, "position": tokens.index(choice)})
    return {"study": key["study"], "respondent": respondent, "order_seed": 1, "answers": given}
