"""Which attempt at which model version a call was, and whether its end is the server's fault."""

from collections.abc import Mapping
from functools import lru_cache

CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS = 1, 2, 4, 13, 14, 15
BLAMED = frozenset({UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS})
FAIR_SECONDS = 1.0

# what gRPC says an HTTP status means that comes without a gRPC status
_OF_HTTP: Mapping[int, int] = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def of_http(status: int) -> int:
    """The gRPC status of an answer that carried none."""
    return _OF_HTTP.get(status, UNKNOWN)


def blames_server(status: int, seconds: float, *, own_limit: bool) -> bool:
    """Whether this end of an attempt, after so many seconds, tells against the server.

    INVALID_ARGUMENT and its like are the caller's fault, and RESOURCE_EXHAUSTED is a server that protects itself.
    A deadline tells against the server where it is our own limit for one attempt, or left it a fair time: else one
    caller that allows a millisecond could take a server from everybody. So could one that cancels: CANCELLED never
    tells against anybody.
    """
    if status == DEADLINE_EXCEEDED:
        return own_limit or seconds >= FAIR_SECONDS
    return status in BLAMED


@lru_cache(maxsize=10_000)
def asked(scope: str, chain: str, attempt: int) -> tuple[str, str] | None:
    """The (model, version) that attempt number `attempt` (from 1) of a call to model `scope` asked for.

    `chain` names one for each attempt, as the compiled policy writes it: `2,2,1,other/3`. None where it names none.
    """
    entries = chain.split(",")
    if not scope or not 0 < attempt <= len(entries):
        return None
    other, slash, version = entries[attempt - 1].rpartition("/")
    model = other if slash else scope
    return (model, version) if model and version else None
