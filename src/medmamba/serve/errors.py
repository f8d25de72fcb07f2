"""Errors as JSON, `{"error": {"status": 413, "message": "one sentence"}}`: no stack, no path, nothing of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from medmamba.errors import InputError, TooLargeError

BROKEN = "something went wrong here that is no fault of the request; the log of the service says where"
ENDING = "the service ends and this request was not over; send it again when the service is back"
_SENTENCES = {
    404: "there is nothing at this address; the page is at / and a description of the rest at /openapi.json",
    405: "this address does not take this method; see the header Allow",
}


class RefusedError(HTTPException):
    """A request that is not answered: status, and one sentence with what came, what was expected, what to do."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, dict(headers or {}))


def error_body(status: int, message: str) -> dict[str, Any]:
    """The object that tells of an error."""
    return {"error": {"status": status, "message": message}}


def error_reply(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The reply that tells of an error."""
    return JSONResponse(error_body(status, message), status, dict(headers or {}))


def status_of(reason: InputError) -> int:
    """413 for too many pixels, 422 for whatever else is wrong with an image or an option."""
    return 413 if isinstance(reason, TooLargeError) else 422


def add_handlers(app: FastAPI) -> None:
    """Let every error of an app be JSON."""

    @app.exception_handler(HTTPException)
    def _refused(_: Request, reason: HTTPException) -> JSONResponse:
        message = str(reason.detail) if isinstance(reason, RefusedError) else _SENTENCES.get(reason.status_code)
        return error_reply(reason.status_code, message or str(reason.detail), reason.headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, reason: RequestValidationError) -> JSONResponse:
        first = reason.errors()[0]
        where = " ".join(map(str, first["loc"]))
        return error_reply(422, f"the {where} is wrong: {first['msg']}; see /openapi.json")

    @app.exception_handler(InputError)
    def _unusable(_: Request, reason: InputError) -> JSONResponse:
        return error_reply(status_of(reason), str(reason))

    @app.exception_handler(ClientDisconnect)
    def _gone(_: Request, __: ClientDisconnect) -> JSONResponse:
        return error_reply(400, "the request ended before its body did")  # for the log: nobody is there to read it
