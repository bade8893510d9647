"""The HTTP surface: every route, with its OpenAPI page.

Routes are thin: they read the body within its limit, hand it to the part that answers, and give
back the bytes. Errors of every kind, also a path that does not exist, have the one shape
`{"error": {code, message, where, got, expected, hint, retryable}, "trace_id"}`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ..engine.settings import Settings
from ..schemas.errors import BadRequest, RequestError, TegulaError, TooLarge
from .answer import Answer, as_error, trace_id_of
from .assembly import Serving
from .datasets import DatasetJobs
from .encode import encode_error
from .metrics import ROUTES
from .models import (
    EVENTS_EXAMPLE,
    DatasetAnswer,
    DatasetRequest,
    ErrorAnswer,
    FeaturesAnswer,
    FeaturesRequest,
    LiveAnswer,
    PushAnswer,
    ReadyAnswer,
)

JSON_TYPE: Final = b"application/json"
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "The request is not of the documented shape."},
    404: {"model": ErrorAnswer, "description": "It names something that is not defined."},
    413: {"model": ErrorAnswer, "description": "It is past a limit of size or count."},
    503: {"model": ErrorAnswer, "description": "It may succeed later."},
}
_SPACE: Final[dict[int | str, dict[str, Any]]] = {
    507: {"model": ErrorAnswer, "description": "The disk of the log is full, or nearly."}
}
_KEYS: Final[dict[int | str, dict[str, Any]]] = {
    422: {"model": ErrorAnswer, "description": "A key is missing or has the wrong type."}
}


def create_app(
    settings: Settings, now_us: Callable[[], int], *, serving: Serving | None = None
) -> FastAPI:
    """The application for a project's home. `now_us` is the wall clock.

    `serving` gives the parts where they are already made; `app.state.serving` holds them.
    """
    parts = serving or Serving(settings, now_us)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.start()
        yield
        await parts.close()

    # The page at /docs comes from here, scripts and all: no browser asks another host for it.
    app = FastAPIOffline(
        redoc_url=None,
        title="Tegula",
        summary="Features right at the instant of the request, from one log of events.",
        version="1",
        lifespan=lifespan,
    )
    app.state.serving = parts
    _add_features(app, parts)
    _add_events(app, parts)
    _add_datasets(app, parts, DatasetJobs(settings, now_us))
    _add_health(app, parts)
    _add_metrics(app, parts)
    _add_errors(app)
    return app


def _add_features(app: FastAPI, parts: Serving) -> None:
    @app.post(
        "/v1/features",
        summary="Features of some keys, now or as of an instant",
        tags=["features"],
        response_model=FeaturesAnswer,
        responses={**_ERRORS, **_KEYS},
        openapi_extra=_body({"application/json": {"schema": FeaturesRequest.model_json_schema()}}),
    )
    async def features(request: Request) -> Response:
        trace_id = trace_id_of(request.headers.get("traceparent"))
        try:
            body = await _read_body(request, parts.limits.body_bytes)
        except RequestError as error:
            return json_response(parts.answerer.refuse(error, trace_id))
        answer = parts.answerer.answer(body, trace_id)
        if answer is None:
            answer = await parts.answerer.answer_soon(body, trace_id)
        return json_response(answer)


def _add_events(app: FastAPI, parts: Serving) -> None:
    text = {"schema": {"type": "string"}}
    binary = {"schema": {"type": "string", "format": "binary"}}

    @app.post(
        "/v1/streams/{stream}/events",
        summary="Push events to a stream",
        description="Each record is judged by itself. The answer comes when the good ones are "
        "durable; its receipt can be waited for with `after`.",
        tags=["events"],
        response_model=PushAnswer,
        responses={**_ERRORS, **_SPACE},
        openapi_extra=_body(
            {
                "application/json": {"schema": {"type": "object"}, "example": EVENTS_EXAMPLE},
                "application/x-ndjson": text,
                "application/vnd.apache.arrow.stream": binary,
            }
        ),
    )
    async def events(stream: str, request: Request) -> Response:
        began_ns = time.perf_counter_ns()
        trace_id = trace_id_of(request.headers.get("traceparent"))
        try:
            body = await _read_body(request, parts.limits.body_bytes)
            content_type = request.headers.get("content-type", "")
            pushed = await parts.pusher.push(parts.catalogue.current(), stream, body, content_type)
        except Exception as fault:  # noqa: BLE001 - every request gets its answer
            error = as_error(fault, trace_id)
            _count(parts, "events", error.http_status, began_ns)
            return _error_response(error, trace_id)
        parts.counters.events(pushed.accepted, (one.code for one in pushed.rejected))
        _count(parts, "events", 200, began_ns)
        content = {
            "accepted": pushed.accepted,
            "receipt": None if pushed.receipt is None else str(pushed.receipt),
            "rejected": pushed.rejected,
            "trace_id": trace_id,
        }
        return Response(orjson.dumps(content), media_type="application/json")


def _add_datasets(app: FastAPI, parts: Serving, jobs: DatasetJobs) -> None:
    async def answered(request: Request, work: Callable[[bytes], dict[str, Any]]) -> Response:
        began_ns = time.perf_counter_ns()
        trace_id = trace_id_of(request.headers.get("traceparent"))
        try:
            body = await _read_body(request, parts.limits.body_bytes)
            content = await run_in_threadpool(work, body)
        except Exception as fault:  # noqa: BLE001 - every request gets its answer
            error = as_error(fault, trace_id)
            _count(parts, "other", error.http_status, began_ns)
            return _error_response(error, trace_id)
        _count(parts, "other", 200, began_ns)
        return Response(orjson.dumps(content), media_type="application/json")

    @app.post(
        "/v1/datasets",
        summary="Begin to make a training set",
        description="A process of its own makes it; ask for its status by its name. Only where the "
        "setting `datasets_max` allows it.",
        tags=["datasets"],
        response_model=DatasetAnswer,
        responses={**_ERRORS, 409: {"model": ErrorAnswer, "description": "The name is taken."}},
        openapi_extra=_body({"application/json": {"schema": DatasetRequest.model_json_schema()}}),
    )
    async def begin(request: Request) -> Response:
        return await answered(request, jobs.start)

    @app.get(
        "/v1/datasets/{name}",
        summary="How far a training set is",
        tags=["datasets"],
        response_model=DatasetAnswer,
        responses=_ERRORS,
    )
    async def show(name: str, request: Request) -> Response:
        return await answered(request, lambda _: jobs.show(name))


def _add_health(app: FastAPI, parts: Serving) -> None:
    @app.get(
        "/health/live",
        summary="Whether the process answers",
        tags=["health"],
        response_model=LiveAnswer,
    )
    async def live() -> Response:
        return Response(orjson.dumps({"status": "live"}), media_type="application/json")

    @app.get(
        "/health/ready",
        summary="Whether answers can be relied on",
        tags=["health"],
        response_model=ReadyAnswer,
        responses={503: {"model": ReadyAnswer, "description": "They cannot; `reasons` say why."}},
    )
    async def ready() -> Response:
        found = parts.health.readiness()
        content = {
            "status": "ready" if found.ready else "not ready",
            "reasons": found.reasons,
            "notes": found.notes,
        }
        status = 200 if found.ready else 503
        return Response(orjson.dumps(content), status, media_type="application/json")


def _add_metrics(app: FastAPI, parts: Serving) -> None:
    @app.get(
        "/metrics",
        summary="Figures for Prometheus, of all server processes and of the engine",
        tags=["health"],
        response_class=Response,
    )
    async def metrics() -> Response:
        return Response(generate_latest(parts.metrics), media_type=CONTENT_TYPE_PLAIN_1_0_0)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http_error(request: Request, fault: HTTPException) -> Response:
        error = RequestError(
            f"{request.method} {request.url.path}: {str(fault.detail).lower()}",
            hint="/docs lists every route",
        )
        response = _error_response(error, trace_id_of(request.headers.get("traceparent")))
        response.status_code = fault.status_code
        response.headers.update(fault.headers or {})
        return response


def json_response(answer: Answer) -> Response:
    """An answer as a response, with the headers that the hot protocol writes, in their order."""
    response = Response(status_code=answer.status)
    response.body = answer.body
    response.raw_headers = list(headers_of(answer))
    return response


def headers_of(answer: Answer) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of an answer, whichever way it goes out."""
    return (
        (b"content-type", JSON_TYPE),
        (b"content-length", b"%d" % len(answer.body)),
        (b"tegula-catalogue", b"%d" % answer.catalogue),
    )


async def _read_body(request: Request, bytes_max: int) -> bytes:
    """The body. Raises `TooLarge` as soon as it is known to be, `BadRequest` if it is encoded."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise BadRequest(
            "encoded bodies are not read",
            where="header content-encoding",
            got=repr(encoding),
            expected="a plain body",
        )
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > bytes_max:
        raise TooLarge(what="bytes", got=int(announced), limit=bytes_max)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > bytes_max:
            raise TooLarge(what="bytes", got=size, limit=bytes_max)
        parts.append(part)
    return b"".join(parts)


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _error_response(error: TegulaError, trace_id: str) -> Response:
    return Response(encode_error(error, trace_id), error.http_status, media_type="application/json")


def _count(parts: Serving, route: str, status: int, began_ns: int) -> None:
    took_ns = time.perf_counter_ns() - began_ns
    parts.counters.request(ROUTES.index(route), status, took_ns)
