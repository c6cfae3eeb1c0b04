"""Instances of an entity: which plane, which airport."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.feature_store.domain.columns import Column, Field, Ints


def instance_key(tenant: str, entity: str, values: Sequence[object]) -> bytes:
    """Bytes that no other (tenant, entity, values) has: each part stands behind its own length.

    `5:local7:airport3:JFK`. Never empty and never starting with a brace, so it can be a Redis hash tag.
    """
    parts = [tenant, entity, *(str(int(value)) if isinstance(value, bool) else str(value) for value in values)]
    return b"".join(b"%d:%s" % (len(part), part) for part in (part.encode() for part in parts))


class Instances:
    """The distinct instances that a request names, numbered from 0 in order of appearance."""

    def __init__(self, join_keys: Sequence[Field], columns: Mapping[str, Column]) -> None:
        self._names = [field.name for field in join_keys]
        self._numbers: dict[tuple[object, ...], int] = {}
        self.codes = np.array([self._number(key) for key in self._keys(columns)], np.int64)
        """The number of each row's instance; -1 where a key is null: null is nobody."""

    @property
    def distinct(self) -> list[tuple[object, ...]]:
        """Key values by number."""
        return list(self._numbers)

    def find(self, columns: Mapping[str, Column]) -> Ints:
        """The number of each of these rows' instances; -1 where the request does not name it."""
        return np.array([self._numbers.get(key, -1) for key in self._keys(columns)], np.int64)

    def _keys(self, columns: Mapping[str, Column]) -> list[tuple[object, ...]]:
        return list(zip(*(columns[name].objects() for name in self._names), strict=True))

    def _number(self, key: tuple[object, ...]) -> int:
        return -1 if None in key else self._numbers.setdefault(key, len(self._numbers))
