"""Errors as RFC 9457 problem documents: one table, the exception tree of `pipeline.errors`."""

import inspect
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from pipeline.errors import (
    DatabaseUnavailable,
    HeadsplatError,
    ProcessingError,
    TooManyRequests,
    Unauthorized,
)

_MEDIA_TYPE = "application/problem+json"
_DATABASE_RETRY_S = 5


class Problem(BaseModel):
    """Why something did not happen, as RFC 9457 has it."""

    type: str = Field(examples=["urn:headsplat:no_face"])
    title: str = Field(examples=["The detector found no face that it is sure of."])
    status: int = Field(examples=[422])
    detail: str
    code: str = Field(description="The last part of the type.", examples=["no_face"])


def job_problem(code: str, message: str) -> Problem:
    """The problem of a job that was rejected or failed."""
    return _problem(_BY_CODE.get(code, ProcessingError), message)


def documented(*errors: type[HeadsplatError]) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of these errors."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        example = _problem(error, "what was wrong, the limit, and what to do").model_dump()
        entry = found.setdefault(error.http_status, _documented(""))
        entry["description"] += f"`{error.code}`: {example['title']} "
        entry["content"][_MEDIA_TYPE]["examples"][error.code] = {"value": example}
    return found


def documented_status(status: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of a status that the web framework answers with by itself."""
    return {int(status): _documented(status.phrase)}


def _documented(description: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    content = {_MEDIA_TYPE: {"schema": schema, "examples": {}}}
    return {"description": description, "content": content}


def install_problems(api: FastAPI) -> None:
    """Have every error of ``api`` answered with a problem document."""
    api.add_exception_handler(HeadsplatError, _answer_ours)
    api.add_exception_handler(RequestValidationError, _answer_invalid)
    api.add_exception_handler(HTTPException, _answer_http)
    api.add_exception_handler(Exception, _answer_unexpected)


def _subclasses(cls: type[HeadsplatError]) -> Iterator[type[HeadsplatError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _subclasses(below)


_BY_CODE = {error.code: error for error in _subclasses(HeadsplatError)}


def _problem(error: type[HeadsplatError], detail: str) -> Problem:
    title = inspect.cleandoc(error.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return Problem(
        type=f"urn:headsplat:{error.code}",
        title=title,
        status=error.http_status,
        detail=detail,
        code=error.code,
    )


def _response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        problem.model_dump(), problem.status, headers=headers, media_type=_MEDIA_TYPE
    )


def _answer_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HeadsplatError)
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, DatabaseUnavailable):
        headers["Retry-After"] = str(_DATABASE_RETRY_S)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _response(_problem(type(error), str(error)), headers)


def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _response(_plain(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}"))


def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _response(_plain(HTTPStatus(error.status_code), error.detail), dict(error.headers or {}))


def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    return _response(_problem(HeadsplatError, "the service failed; its log says why"))


def _plain(status: HTTPStatus, detail: str) -> Problem:
    code = status.name.lower()
    return Problem(
        type=f"urn:headsplat:{code}", title=status.phrase, status=status, detail=detail, code=code
    )
