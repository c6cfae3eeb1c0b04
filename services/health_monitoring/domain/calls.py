"""What calls say of a model version on a server, over a window that slides by the second."""

from collections import deque
from dataclasses import dataclass, field

from ddsketch import DDSketch

RELATIVE_ERROR = 0.01


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a call at one server, as Envoy saw it end."""

    model: str
    version: str
    address: str
    """host:port of the server."""
    status: int
    """gRPC status: the server's, or what its absence amounts to."""
    blamed: bool
    """Whether that is the server's fault."""
    reached: bool
    """False when no connection came about: probes find that out, and nobody was served slowly."""
    seconds: float
    """From its first byte to its end."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Calls that ended within the last `window` seconds. Latencies in seconds."""

    window: int
    calls: int
    errors: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.calls / self.window


@dataclass(slots=True)
class _Second:
    number: int
    calls: int = 0
    errors: int = 0
    latencies: DDSketch = field(default_factory=lambda: DDSketch(RELATIVE_ERROR))


class CallWindow:
    """The calls of the last `window` seconds. Seconds are whole numbers of a clock that never goes back."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._seconds: deque[_Second] = deque()

    def add(self, second: int, latency: float, *, error: bool) -> None:
        if not self._seconds or self._seconds[-1].number < second:
            self._seconds.append(_Second(second))
        newest = self._seconds[-1]
        newest.calls += 1
        newest.errors += error
        newest.latencies.add(latency)
        self._forget(second)

    def counts(self, second: int) -> tuple[int, int]:
        """(calls, errors) of the window that ends with this second."""
        self._forget(second)
        return sum(s.calls for s in self._seconds), sum(s.errors for s in self._seconds)

    def latencies(self, second: int) -> DDSketch:
        """A new sketch of the window's latencies."""
        self._forget(second)
        merged = DDSketch(RELATIVE_ERROR)
        for each in self._seconds:
            merged.merge(each.latencies)
        return merged

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0].number <= second - self._window:
            self._seconds.popleft()


def statistics(windows: list[CallWindow], window: int, second: int) -> Statistics | None:
    """Of all these windows together; None where they saw no call."""
    calls = errors = 0
    merged = DDSketch(RELATIVE_ERROR)
    for each in windows:
        more_calls, more_errors = each.counts(second)
        calls, errors = calls + more_calls, errors + more_errors
        merged.merge(each.latencies(second))
    if not calls:
        return None
    return Statistics(window, calls, errors, _quantile(merged, 0.5), _quantile(merged, 0.99))


def _quantile(sketch: DDSketch, quantile: float) -> float:
    return float(sketch.get_quantile_value(quantile) or 0.0)


@dataclass(frozen=True, slots=True)
class CallRules:
    """When calls condemn: at least `least_calls` in the window, and so large a share of errors.

    They acquit below half of that share, or once the window holds too few calls to tell. The share is under a half, so
    that chance does not decide whether a server that fails every second call is out.
    """

    window: int = 30
    least_calls: int = 20
    error_ratio: float = 0.4


def failing(rules: CallRules, calls: int, errors: int, *, already: bool) -> str:
    """In words how calls fail; empty while they do not, or while there are too few to tell."""
    limit = rules.error_ratio / 2 if already else rules.error_ratio
    if calls < rules.least_calls or errors < limit * calls:
        return ""
    return f"{errors} of {calls} calls in {rules.window} s failed"
