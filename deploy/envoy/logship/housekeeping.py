"""Sets the record log aside when it has grown, has Envoy begin another, and deletes what every sink has taken."""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from collections.abc import Sequence

from deploy.envoy.logship import metrics
from deploy.envoy.logship.record_log import RecordLog
from deploy.envoy.logship.shipping import Shipment

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
ADMIN_DEADLINE_SECONDS = 5.0


class Housekeeper:
    def __init__(self, record_log: RecordLog, admin: str, rotate_bytes: int, shipments: Sequence[Shipment]) -> None:
        self._log = record_log
        self._admin = admin
        self._rotate_bytes = rotate_bytes
        self._shipments = shipments
        self._envoy_answers = True

    async def run(self) -> None:
        while True:
            self.set_aside()
            await self.reopen()
            self.delete()
            await asyncio.sleep(EVERY_SECONDS)

    def set_aside(self) -> None:
        """Rename the file that Envoy writes, if it is large. Envoy goes on writing to it until it is told."""
        path = self._log.path
        if path.exists() and path.stat().st_size >= self._rotate_bytes:
            earlier = self._log.set_aside()
            number = self._log.number(earlier[-1]) + 1 if earlier else 1
            path.rename(f"{path}.{number}")
            metrics.SET_ASIDE.inc()

    async def reopen(self) -> None:
        """Until Envoy has begun another file, tell it to: it may have been told in vain, or by one who died."""
        if self._log.path.exists() or not self._log.set_aside():
            return
        try:
            await asyncio.to_thread(_post, f"http://{self._admin}/reopen_logs")
            self._envoy_answers = True
        except OSError as error:
            # when it is back it opens the file by its name
            if self._envoy_answers:
                log.warning("Envoy cannot be told to begin another file: %s", error)
            self._envoy_answers = False

    def delete(self) -> None:
        """Files that every sink has taken to the end and that nobody will write to."""
        files = self._log.files()
        metrics.FILES.set(len(files))
        for file in files:
            if all(shipment.finished_with(file) for shipment in self._shipments):
                file.path.unlink(missing_ok=True)


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=ADMIN_DEADLINE_SECONDS):  # noqa: S310  http, as written above
        pass
