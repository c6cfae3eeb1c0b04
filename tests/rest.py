"""REST as any client speaks it: nothing but http.client."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

SECONDS = 30


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """By lower case name."""
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"].partition(";")[0] == "application/json", self.body
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """Of the error."""
        return self._detail("ErrorInfo")["reason"]

    @property
    def fields(self) -> dict[str, str]:
        """What is wrong with each field that the error names."""
        violations = self._detail("BadRequest")["field_violations"]
        return {violation["field"]: violation["description"] for violation in violations}

    def _detail(self, kind: str) -> Any:
        return next(d for d in self.json["details"] if d["@type"] == f"type.googleapis.com/google.rpc.{kind}")


@dataclass(frozen=True)
class Rest:
    address: str

    def call(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        host, _, port = self.address.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, None, headers)

    def post(self, path: str, document: Any, headers: dict[str, str] | None = None) -> Answer:
        """JSON; bytes are sent as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.call("POST", path, body, {"content-type": "application/json", **(headers or {})})
