"""Where HTTP is answered."""

import asyncio
import logging

from aiohttp import web

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0


class Listener:
    """On `address`, `host:port`, together with every other process that listens there. Calls whose callers have gone
    are cancelled."""

    def __init__(self, app: web.Application, address: str) -> None:
        self._address = address
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=GRACE_SECONDS)

    async def run(self) -> None:
        await self._runner.setup()
        host, _, port = self._address.rpartition(":")
        await web.TCPSite(self._runner, host.strip("[]"), int(port), reuse_port=True).start()
        log.info("HTTP on %s", self._runner.addresses)
        await asyncio.Event().wait()

    @property
    def port(self) -> int:
        """That it has got, once it runs; 0 before."""
        return self._runner.addresses[0][1] if self._runner.addresses else 0

    async def close(self) -> None:
        """Calls in flight may take so long to end."""
        await self._runner.cleanup()
