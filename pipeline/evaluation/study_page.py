"""The page of a study: one HTML file that asks, and saves the answers where it is opened."""

import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

from pipeline.evaluation.study import Question, Study

TEMPLATE = Path(__file__).with_name("study.html")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def study_page(study: Study) -> str:
    """The page: no other file, no other host, and no word of methods and subjects.

    Its policy lets nothing load and no script run but its own.
    """
    page = TEMPLATE.read_text()
    script = _SCRIPT.search(page)
    assert script is not None
    digest = b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    questions = [_question(question) for question in study.questions]
    data = json.dumps({"study": study.id, "ask": study.ask, "questions": questions})
    data = data.replace("<", "\\u003c")  # no text of the user's can end the element
    return page.replace("SCRIPT_SHA256", digest).replace("STUDY_JSON", data)


def _question(question: Question) -> dict[str, Any]:
    return {
        "token": question.token,
        "portrait": None if question.portrait is None else question.portrait.uri,
        "options": [
            {"token": option.token, "picture": option.picture.uri} for option in question.options
        ],
    }
