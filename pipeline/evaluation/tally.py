"""Which method the people of a study preferred, from their answer files and the key."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError
from pipeline.evaluation.columns import Json, cell, json_estimate
from pipeline.evaluation.study import study_id

Choices = dict[str, tuple[str, int]]
"""Question token -> chosen option's token, and the place at which it was shown, from 0."""


def count_answers(key: Json, answers: Mapping[str, Json]) -> dict[str, Any]:
    """Count the answers of a study.

    A person's answers are not independent, so shares are taken for each person first; the mean
    and the standard error are over people.

    Args:
        key: what `Study.key` returned, as read from ``key.json``.
        answers: name of the file -> its content, one file a person. The same file twice counts
            once.

    Returns:
        JSON values: people, answers, the share that chance would give, percent of each method
        (mean, standard error, people), percent of each place in the row of pictures, and how
        often each method was chosen for each subject.

    Raises:
        UsageError: the key or a file belongs to another study or is damaged, a file holds no
            answer, or two files of one person differ.
    """
    methods, options = _key(key)
    people: dict[str, tuple[str, Choices]] = {}
    for name, file in answers.items():
        respondent, choices = _choices(name, file, key["study"], options)
        before, known = people.setdefault(respondent, (name, choices))
        if known != choices:
            raise UsageError(
                f"{before} and {name} are of one person and differ; leave one of them out"
            )
    given = [choices for _, choices in people.values()]
    chosen = [[options[q][choice] for q, (choice, _) in one.items()] for one in given]
    places = [[place for _, place in one.values()] for one in given]
    subjects = {question["seen"][0]: question["subject"] for question in key["questions"]}
    counts: dict[str, Counter[str]] = {subject: Counter() for subject in subjects.values()}
    for one in given:
        for question, (choice, _) in one.items():
            counts[subjects[question]][options[question][choice]] += 1
    return {
        "study": key["study"],
        "ask": key["ask"],
        "people": len(given),
        "answers": sum(map(len, given)),
        "questions": len(subjects),
        "chance": 100 / len(methods),
        "preference": {method: _percent(chosen, method) for method in methods},
        "by_place": [_percent(places, place) for place in range(len(methods))],
        "by_subject": {
            subject: {method: found[method] for method in methods}
            for subject, found in counts.items()
        },
    }


def tally_table(found: Json) -> str:
    """The shares in Markdown, the most preferred method first, and what they rest on."""
    shares = sorted(found["preference"].items(), key=lambda share: -share[1]["mean"])
    lines = ["| | preferred, % |", "|---|---|"]
    lines += [f"| {method} | {_share(share)} |" for method, share in shares]
    places = ", ".join(_share(share) for share in found["by_place"])
    return "\n".join(lines) + (
        f"\n\n{found['people']} people, {found['answers']} answers to {found['questions']} "
        f'questions: "{found["ask"]}" Mean +- standard error over people; chance would give '
        f"{found['chance']:.1f} %. By place in the row: {places} %.\n"
    )


def _key(key: Json) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The methods, and of each question's token its options' tokens and methods."""
    try:
        options = {question["seen"][0]: question["methods"] for question in key["questions"]}
        made = study_id(key["ask"], [question["seen"] for question in key["questions"]])
        shown = {
            question["seen"][0]: {token for token, _ in question["seen"][2]}
            for question in key["questions"]
        }
        methods = list(key["methods"])
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UsageError(
            f"this is not the key of a study ({error!r}); give the key.json that was written "
            "beside study.html"
        ) from error
    of_methods = all(sorted(one.values()) == methods for one in options.values())
    if made != key["study"] or shown != {q: set(one) for q, one in options.items()}:
        raise UsageError(f"the key was changed after study {key['study']} was made")
    if not of_methods:
        raise UsageError(f"the key of study {key['study']} does not name {methods} everywhere")
    return methods, options


def _choices(
    name: str, file: Json, study: str, options: Mapping[str, Mapping[str, str]]
) -> tuple[str, Choices]:
    """Who answered, and what."""
    try:
        if file["study"] != study:
            raise UsageError(f"{name} answers study {file['study']}, but the key is of {study}")
        respondent, given = file["respondent"], file["answers"]
        listed = [(str(one["question"]), str(one["choice"]), one["position"]) for one in given]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{name} is not a file of answers: it lacks {error}") from error
    choices: Choices = {}
    for question, choice, position in listed:
        if choice not in options.get(question, {}) or position not in range(len(options[question])):
            raise UsageError(
                f"{name} holds an answer that the study does not offer ({question}, {choice}, "
                f"{position}); it was changed or is damaged"
            )
        if question in choices:
            raise UsageError(f"{name} answers question {question} twice")
        choices[question] = choice, position
    if not choices:
        raise UsageError(f"{name} holds no answer")
    return str(respondent), choices


def _percent(people: Sequence[Sequence[Any]], what: Any) -> dict[str, Any]:
    return json_estimate([100 * one.count(what) / len(one) for one in people])


def _share(value: Json) -> str:
    return cell(value, 1)
