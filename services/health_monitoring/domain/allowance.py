"""How much of its time the process may give to the access log: what goes beyond is thrown away unread."""


class Allowance:
    """A share of each second, by a clock that never goes back. A second that is used up ends early, not late."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._second = 0
        self._spent = 0.0

    def left(self, now: float) -> bool:
        """Whether there is time left in the second that `now` belongs to."""
        if int(now) != self._second:
            self._second, self._spent = int(now), 0.0
        return self._spent < self._share

    def spend(self, seconds: float) -> None:
        self._spent += seconds
