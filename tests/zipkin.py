"""A collector of traces: what services started with its environment export, as the JSON that they send."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Collector:
    """Takes POSTs of Zipkin's JSON v2 on a free port of loopback."""

    def __init__(self) -> None:
        self._spans: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        collector = self

        class Endpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *said: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        self.server.daemon_threads = True

    @property
    def environment(self) -> Mapping[str, str]:
        """For services: export soon, and only traces that a caller began and wants recorded."""
        return {
            "OTEL_EXPORTER_ZIPKIN_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}/api/v2/spans",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def take(self, spans: list[dict[str, Any]]) -> None:
        with self._lock:
            self._spans += spans

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace that have arrived, oldest first."""
        with self._lock:
            return sorted((span for span in self._spans if span["traceId"] == trace_id), key=lambda s: s["timestamp"])


@contextmanager
def collecting() -> Generator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()
