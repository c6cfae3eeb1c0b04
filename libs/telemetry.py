"""Logs as JSON lines, metrics for Prometheus, traces by OpenTelemetry.

Traces leave the process only where OTEL_EXPORTER_ZIPKIN_ENDPOINT says so (every collector reads Zipkin's JSON);
trace ids are in the logs in any case.
Every metric and span is listed in docs/metrics.md.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import start_http_server

# room for a stack trace
ATTRIBUTE_CHARACTERS = 16 * 1024


class JsonLines(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace"] = f"{span.trace_id:032x}"
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(service: str, metrics_port: int) -> None:
    """Once for each process, before anything is logged. Port 0 exposes no metrics."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=os.environ.get("PENSTOCK_LOG_LEVEL", "INFO"), handlers=[handler], force=True)
    # a caller's text, such as a request id or what an exception quotes, must not make spans that collectors refuse
    limits = SpanLimits(max_attribute_length=ATTRIBUTE_CHARACTERS)
    provider = TracerProvider(resource=Resource.create({"service.name": service}), span_limits=limits)
    if os.environ.get("OTEL_EXPORTER_ZIPKIN_ENDPOINT"):
        provider.add_span_processor(BatchSpanProcessor(ZipkinExporter()))
    trace.set_tracer_provider(provider)
    if metrics_port:
        start_http_server(metrics_port, addr="127.0.0.1")
