"""GET /health: all of it for monitors and people, without gRPC."""

from collections.abc import Callable, Mapping

from aiohttp import web

from services.health_monitoring.domain.overall import Check, Overall


def application(ask: Callable[[], Overall]) -> web.Application:
    """200 or 503, the same document."""

    async def answer(_: web.Request) -> web.Response:
        now = ask()
        document = {"status": now.status.value, "checks": [_check(check) for check in now.checks]}
        status = 200 if now.well else 503
        return web.json_response(document, status=status, headers={"cache-control": "no-store"})

    app = web.Application()
    app.router.add_get("/health", answer)
    return app


def _check(check: Check) -> Mapping[str, str]:
    said = {"name": check.name, "status": check.status.value}
    if check.message:
        said["message"] = check.message
    if check.since is not None:
        said["since"] = check.since.isoformat().replace("+00:00", "Z")
    return said
