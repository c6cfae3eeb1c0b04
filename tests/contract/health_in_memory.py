"""What health_monitoring remembers, without Postgres: what a store must do, in the fewest words."""

from datetime import UTC, datetime

from libs.errors import Invalid, Violation


class HealthInMemory:
    def __init__(self):
        self._targets = {}
        self._transitions = {}

    async def record(self, transitions, remembered, gone):
        for each in transitions:
            self._transitions.setdefault((each.time, each.target), each)
        self._targets.update({each.target.identity: each for each in remembered})
        for identity in gone:
            self._targets.pop(identity, None)

    async def remembered(self):
        return [self._targets[identity] for identity in sorted(self._targets)]

    async def recent(self, of_each):
        found = []
        for identity in self._targets:
            found += [each for each in self._newest_first() if each.target == identity][:of_each]
        return sorted(found, key=lambda each: (each.time, each.target))

    async def transitions(self, target, since, page):
        try:
            after = (datetime.fromisoformat(page.after[0]).astimezone(UTC), page.after[1]) if page.after else None
        except (ValueError, OverflowError):
            raise Invalid([Violation("page_token", "no such token")], reason="INVALID_PAGE_TOKEN") from None
        rows = [
            each
            for each in self._newest_first()
            if (not target or each.target == target)
            and (since is None or each.time >= since)
            and (after is None or (each.time, each.target) < after)
        ]
        return page.split(rows[: page.lookahead], lambda each: (each.time.isoformat(), each.target))

    async def tidy(self, before, most):
        kept = [each for each in self._newest_first()[:most] if each.time >= before]
        deleted = len(self._transitions) - len(kept)
        self._transitions = {(each.time, each.target): each for each in kept}
        return deleted

    def _newest_first(self):
        return [self._transitions[key] for key in sorted(self._transitions, reverse=True)]
