"""The addresses of the service, and what stands around them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Coroutine
from importlib import resources
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect

from medmamba import __version__
from medmamba.data.source import ImageBytes
from medmamba.serve import about
from medmamba.serve.errors import RefusedError, add_handlers, error_body, status_of
from medmamba.serve.forms import FIELD, MULTIPART, RAW, read_images
from medmamba.serve.guard import Guard, SafeHeaders
from medmamba.serve.limits import Bodies, Crowd, Limits
from medmamba.serve.numbers import CONTENT_TYPE, IMAGES, Numbers, Watch
from medmamba.serve.replies import Answers, ErrorReply, ImageAnswer, ModelReply
from medmamba.serve.service import Answer, Service

T = TypeVar("T")

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_ONE_FILE = {"type": "string", "format": "binary"}


def make_app(
    service: Service, *, hosts: Collection[str] = (), token: str | None = None, limits: Limits | None = None
) -> FastAPI:
    """The app of a service.

    Args:
        service: The model at work.
        hosts: Names under which it is reached, beside those of loopback.
        token: What callers must know; None lets everybody in.
        limits: What is taken from callers.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would log bytes of what was sent
    limits, numbers = limits or Limits(), Numbers()
    app = FastAPI(
        title="medmamba",
        version=__version__,
        description=f"Classifies medical images. {about.RESEARCH_USE}",
        docs_url=None,  # these pages load from other hosts
        redoc_url=None,
    )
    add_handlers(app)
    _add_page(app)
    _add_state(app, service, numbers)
    _add_answers(app, service, limits)
    # the last one is asked first
    app.add_middleware(Crowd, limits=limits)
    app.add_middleware(Guard, hosts=hosts, token=token)
    app.add_middleware(Bodies, limits=limits)
    app.add_middleware(Watch, numbers=numbers)
    app.add_middleware(SafeHeaders)
    return app


def _add_page(app: FastAPI) -> None:
    folder = resources.files("medmamba.serve") / "page"

    def add(address: str, name: str, kind: str) -> None:
        content = (folder / name).read_bytes()

        @app.get(address, include_in_schema=False)
        def part() -> Response:
            return Response(content, media_type=kind)

    for address, (name, kind) in PAGE.items():
        if (folder / name).is_file():
            add(address, name, kind)


def _add_state(app: FastAPI, service: Service, numbers: Numbers) -> None:
    @app.get("/healthz", response_class=PlainTextResponse, summary="Whether the process is alive")
    async def healthz() -> str:
        return "alive\n"

    @app.get("/readyz", response_class=PlainTextResponse, summary="Whether the model answers", responses=_errors(503))
    async def readyz() -> str:
        if not (service.ready and service.works):
            raise RefusedError(503, "the model is not warm yet, or at its end; try again soon", {"Retry-After": "1"})
        return "ready\n"

    @app.get("/metrics", response_class=PlainTextResponse, summary="Counters for Prometheus", responses=_errors(401))
    async def metrics() -> Response:
        batches = service.batches
        return Response(numbers.text(batches.batches, batches.pictures, service.ready), media_type=CONTENT_TYPE)


def _add_answers(app: FastAPI, service: Service, limits: Limits) -> None:
    told = {"files": limits.files, "body_bytes": limits.body, "max_pixels": service.reading.max_pixels}
    token = [Depends(HTTPBearer(auto_error=False, description="Where the service was started with a token."))]
    of_images = _errors(400, 401, 403, 408, 413, 415, 422, 429, 503)

    @app.get("/v1/model", dependencies=token, response_model=ModelReply, responses=_errors(401))
    async def model() -> Any:
        """The model: classes, preprocessing, card, versions."""
        return about.whole(service, told)

    @app.post(
        "/v1/predict",
        dependencies=token,
        response_model=Answers,
        responses=of_images,
        openapi_extra=_body(many=True),
    )
    async def predict(request: Request, name: Annotated[str, Query(description="Of a raw body.")] = "") -> Any:
        """Classify images: a form with one or more files, or one image as the whole body."""
        _check_works(service)
        images = await read_images(request, limits.files)
        start = time.monotonic()
        answers = await _unless_gone(request, service.predict(images))
        failed = [answer.reason for answer in answers if answer.reason is not None]
        request.scope[IMAGES] = {"answered": len(answers) - len(failed), "unreadable": len(failed)}
        rows = [_row(answer).model_dump() for answer in answers]
        if len(failed) == len(answers):
            status = max(status_of(reason) for reason in failed)
            sentence = str(failed[0]) if len(failed) == 1 else f"none of the {len(failed)} images can be read"
            return JSONResponse({**error_body(status, sentence), "images": rows}, status)
        seconds = round(time.monotonic() - start, 4)
        return {"model": about.short(service.classifier), "seconds": seconds, "images": rows}

    @app.post(
        "/v1/explain",
        dependencies=token,
        response_class=Response,
        responses=_png("The heat map, of the size of the picture, to be laid over it.") | of_images,
        openapi_extra=_body(many=False),
    )
    async def explain(
        request: Request,
        target: Annotated[
            str | None, Query(alias="class", max_length=200, description="By default the one that is answered.")
        ] = None,
        name: Annotated[str, Query(description="Of a raw body.")] = "",
    ) -> Response:
        """Where in one image the network finds evidence for a class."""
        image = await _one(request, service)
        png, explained = await _unless_gone(request, service.explain(image, target))
        return Response(png, media_type="image/png", headers={"X-Class": quote(explained, safe=" ")})

    @app.post(
        "/v1/picture",
        dependencies=token,
        response_class=Response,
        responses=_png("The picture.") | of_images,
        openapi_extra=_body(many=False),
    )
    async def picture(request: Request, name: Annotated[str, Query(description="Of a raw body.")] = "") -> Response:
        """One image as the model reads it, for what a browser cannot show."""
        image = await _one(request, service)
        return Response(await _unless_gone(request, service.picture(image)), media_type="image/png")


def _check_works(service: Service) -> None:
    if not service.works:
        raise RefusedError(503, "the service is ending; try again soon", {"Retry-After": "1"})


async def _one(request: Request, service: Service) -> ImageBytes:
    _check_works(service)
    images = await read_images(request, 1)
    request.scope[IMAGES] = {}
    return images[0]


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is given up when the caller leaves."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_leaves(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        task.cancel()
        gone.cancel()


async def _leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _row(answer: Answer) -> ImageAnswer:
    prediction = answer.prediction
    return ImageAnswer(
        name=prediction.file,
        error=prediction.error,
        label=prediction.label,
        probabilities=prediction.probabilities or None,
        prediction_set=None if prediction.possible is None else list(prediction.possible),
        refer=prediction.refer or None,
        width=answer.width,
        height=answer.height,
    )


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorReply} for status in statuses}


def _png(what: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": what, "content": {"image/png": {"schema": _ONE_FILE}}}}


def _body(*, many: bool) -> dict[str, Any]:
    files = {"type": "array", "items": _ONE_FILE, "minItems": 1, **({} if many else {"maxItems": 1})}
    form = {"type": "object", "properties": {FIELD: files}, "required": [FIELD]}
    content: dict[str, Any] = {MULTIPART: {"schema": form}}
    return {"requestBody": {"required": True, "content": content | {kind: {"schema": _ONE_FILE} for kind in RAW}}}
