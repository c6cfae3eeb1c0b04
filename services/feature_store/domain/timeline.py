"""Rows in order of instance and time, and where a moment falls among the rows of one instance."""

import numpy as np

from services.feature_store.domain.columns import Ints


class Timeline:
    """Positions count in `order`. An instance that has no rows, or the code -1, has an empty range of positions.

    Instance and time become one number, so each question is one binary search, for all rows of a request at once.
    """

    def __init__(self, codes: Ints, event_us: Ints, *ties: Ints) -> None:
        """`codes` number the instances from 0. Rows of equal time are ordered by `ties`, then as they come."""
        self.order: Ints = np.lexsort((*reversed(ties), event_us, codes))
        self._times = np.unique(event_us)
        self._stride = len(self._times) + 1
        self._keys = codes[self.order] * self._stride + np.searchsorted(self._times, event_us[self.order])

    def start(self, codes: Ints) -> Ints:
        """The instance's first position."""
        return self._position(codes, np.zeros(len(codes), np.int64))

    def before(self, codes: Ints, at_us: Ints) -> Ints:
        """One past the instance's last position whose time is before `at_us`."""
        return self._position(codes, np.searchsorted(self._times, at_us, "left"))

    def through(self, codes: Ints, at_us: Ints) -> Ints:
        """One past the instance's last position whose time is not after `at_us`."""
        return self._position(codes, np.searchsorted(self._times, at_us, "right"))

    def _position(self, codes: Ints, rank: Ints) -> Ints:
        return np.searchsorted(self._keys, codes * self._stride + rank, "left")
