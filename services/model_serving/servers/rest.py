"""The REST form of the Open Inference Protocol."""

import json
import logging
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import ContentEncodingError
from opentelemetry import propagate, trace

from libs import identity
from libs.channels import MESSAGE_BYTES
from services.model_serving.servers import rest_answer, rest_request
from services.model_serving.servers.door import MARK, ROUTING_KEY, Door
from services.model_serving.servers.questions import Questions
from services.model_serving.servers.refusal import Refusal, Status, not_here

log = logging.getLogger(__name__)

JSON_LENGTH = "Inference-Header-Content-Length"
HTTP_OF = {
    Status.INVALID_ARGUMENT: 400,
    Status.FAILED_PRECONDITION: 400,
    Status.ALREADY_EXISTS: 400,
    Status.UNKNOWN: 400,
    Status.UNAUTHENTICATED: 401,
    Status.PERMISSION_DENIED: 403,
    Status.NOT_FOUND: 404,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.CANCELLED: 499,
    Status.UNIMPLEMENTED: 501,
    Status.UNAVAILABLE: 503,
    Status.DEADLINE_EXCEEDED: 504,
}
"""As a Triton answers, where it has such a status; 500 for all others."""
ENCODINGS = ("", "identity", "gzip", "deflate")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest:
    def __init__(self, door: Door, questions: Questions) -> None:
        self._door = door
        self._questions = questions

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MESSAGE_BYTES, middlewares=[_named, _refused])
        app.router.add_get("/v2", self._server)
        app.router.add_get("/v2/", self._server)
        app.router.add_get("/v2/health/live", _live)
        app.router.add_get("/v2/health/ready", self._server_ready)
        app.router.add_post("/v2/repository/index", self._index)
        app.router.add_get("/v2/models/stats", self._statistics)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            app.router.add_get(path, self._metadata)
            app.router.add_get(f"{path}/ready", self._ready)
            app.router.add_get(f"{path}/config", self._config)
            app.router.add_get(f"{path}/stats", self._statistics)
            app.router.add_post(f"{path}/infer", self._infer)
            app.router.add_route("*", f"{path}/trace/setting", _not_here("settings"))
        app.router.add_post("/v2/repository/models/{model}/load", _not_here("load"))
        app.router.add_post("/v2/repository/models/{model}/unload", _not_here("unload"))
        app.router.add_route("*", "/v2/trace/setting", _not_here("settings"))
        app.router.add_route("*", "/v2/logging", _not_here("settings"))
        for kind in ("system", "cuda"):
            app.router.add_route("*", f"/v2/{kind}sharedmemory/{{rest:.*}}", _not_here("memory"))
        return app

    async def _server(self, request: web.Request) -> web.Response:
        return _json(rest_answer.plain(self._questions.server()))

    async def _server_ready(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self._questions.server_ready() else 400)

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self._questions.ready(*_named_model(request)) else 400)

    async def _metadata(self, request: web.Request) -> web.Response:
        return _json(rest_answer.plain(await self._questions.describe(*_named_model(request))))

    async def _config(self, request: web.Request) -> web.Response:
        return _json(rest_answer.plain((await self._questions.config(*_named_model(request))).config))

    async def _statistics(self, request: web.Request) -> web.Response:
        return _json(rest_answer.plain(await self._questions.statistics(*_named_model(request))))

    async def _index(self, request: web.Request) -> web.Response:
        asked = rest_request.json_object(await _body(request) or b"{}")
        index = self._questions.index(ready=asked.get("ready") is True)
        return _json([rest_answer.plain(model) for model in index.models])

    async def _infer(self, request: web.Request) -> web.Response:
        model, version = _named_model(request)
        asked, wanted = rest_request.read(await _body(request), request.headers.get(JSON_LENGTH), model, version)
        keys = request.headers.getall(ROUTING_KEY, [])
        answer, headers = await self._door.infer("http", asked, keys, None)
        body, json_length = rest_answer.write(answer, wanted)
        response = web.Response(body=body, headers=headers, content_type="application/json")
        if json_length is not None:
            response.content_type = "application/octet-stream"
            response.headers[JSON_LENGTH] = str(json_length)
        _compress(request, response)
        return response


@web.middleware
async def _named(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Who calls, and as part of which trace: for the calls that are made to answer this one."""
    identity.enter({name.lower(): value for name, value in request.headers.items()})
    tracer = trace.get_tracer("services.model_serving")
    carried = propagate.extract(request.headers)
    with tracer.start_as_current_span(f"{request.method} /v2", carried, trace.SpanKind.SERVER):
        return await handler(request)


@web.middleware
async def _refused(request: web.Request, handler: Answer) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refused:
        return _json({"error": refused.text}, HTTP_OF.get(refused.code, 500), dict((*refused.headers, MARK)))
    except web.HTTPException as refused:
        return _json({"error": refused.text or refused.reason}, refused.status)
    except Exception:  # every failure must leave as a status, never as its own text
        trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
        log.exception("%s failed, trace %s", request.path, trace_id)
        return _json({"error": f"internal error; trace {trace_id}"}, 500)


async def _live(_: web.Request) -> web.Response:
    return web.Response()


def _not_here(what: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def refuse(_: web.Request) -> web.Response:
        raise not_here(what)

    return refuse


def _named_model(request: web.Request) -> tuple[str, str]:
    return request.match_info.get("model", ""), request.match_info.get("version", "")


async def _body(request: web.Request) -> bytes:
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if encoding not in ENCODINGS:
        raise web.HTTPUnsupportedMediaType(text=f"content-encoding {encoding!r} is neither gzip nor deflate")
    try:
        return await request.read()
    except (ContentEncodingError, web.RequestPayloadError, zlib.error) as error:
        raise web.HTTPBadRequest(text=f"the body is not {encoding or 'whole'}") from error


def _compress(request: web.Request, response: web.Response) -> None:
    """As the caller asks first, of what is offered here."""
    for offer in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().split(","):
        name, _, quality = offer.partition(";")
        if name.strip() in ("gzip", "deflate") and quality.replace(" ", "") not in ("q=0", "q=0.0"):
            response.enable_compression(web.ContentCoding(name.strip()))
            return


def _json(said: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    text = json.dumps(said, separators=(",", ":"))
    return web.Response(text=text, status=status, headers=headers, content_type="application/json")
