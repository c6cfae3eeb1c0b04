"""Calls by model version and server, counted only where such a target is watched: what clients send cannot grow it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from services.health_monitoring.domain.calls import Attempt, CallRules, CallWindow, Statistics, failing, statistics
from services.health_monitoring.domain.target import Kind, Target

Key = tuple[str, str, str]


class Traffic:
    """Seconds are whole numbers of a clock that never goes back."""

    def __init__(self, rules: CallRules) -> None:
        self._rules = rules
        self._versions: list[Target] = []
        self._keys: dict[Key, str] = {}
        self._windows: dict[str, CallWindow] = {}

    def watch(self, targets: Iterable[Target], aliases: Mapping[str, str]) -> None:
        """Count calls of these targets. `aliases` maps an address as Envoy logs it to the target's own (a DNS name).

        Windows of targets that stay are kept.
        """
        versions = self._versions = [target for target in targets if target.kind is Kind.MODEL_VERSION]
        spellings: dict[str, list[str]] = {}
        for logged, address in aliases.items():
            spellings.setdefault(address, []).append(logged)
        self._keys = {
            (target.model, target.version, address): target.identity
            for target in versions
            for address in (target.address, *spellings.get(target.address, ()))
        }
        self._windows = {
            target.identity: self._windows.get(target.identity) or CallWindow(self._rules.window) for target in versions
        }

    def count(self, attempt: Attempt, second: int) -> bool:
        """Says whether the attempt belongs to a target."""
        identity = self._keys.get((attempt.model, attempt.version, attempt.address))
        if identity is None:
            return False
        if attempt.reached:
            self._windows[identity].add(second, attempt.seconds, error=attempt.blamed)
        return True

    def forget(self, target: Target) -> None:
        """A target that came back is not held to what it did before."""
        if target.identity in self._windows:
            self._windows[target.identity] = CallWindow(self._rules.window)

    def failing(self, target: Target, second: int, *, already: bool) -> str:
        """In words how calls of a model version fail; empty where they do not."""
        window = self._windows.get(target.identity)
        if window is None:
            return ""
        calls, errors = window.counts(second)
        return failing(self._rules, calls, errors, already=already)

    def measured(self, second: int, least_calls: int) -> Iterator[Mapping[str, Statistics]]:
        """Of each model version that has so many calls on two servers or more, by server."""
        by_version: defaultdict[tuple[str, str], dict[str, CallWindow]] = defaultdict(dict)
        for target in self._versions:
            window = self._windows[target.identity]
            if window.counts(second)[0] >= least_calls:
                by_version[target.model, target.version][target.name] = window
        for windows in by_version.values():
            if len(windows) > 1:
                seen = {server: statistics([each], self._rules.window, second) for server, each in windows.items()}
                yield {server: each for server, each in seen.items() if each}

    def statistics(self, target: Target, second: int) -> Statistics | None:
        """Of a model version on a server, or of everything on a server. None where no call was seen."""
        if target.kind is Kind.SERVER:
            windows = [window for identity, window in self._windows.items() if identity.endswith(f"@{target.name}")]
        else:
            windows = [self._windows[target.identity]] if target.identity in self._windows else []
        return statistics(windows, self._rules.window, second)
