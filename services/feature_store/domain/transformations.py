"""On-demand features: the same functions of the same row, online and in history."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from services.feature_store.domain.columns import Bools, Column, ValueType
from services.feature_store.domain.definitions import Transform, Transformation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def transform(transformation: Transformation, inputs: list[Column]) -> Column:
    """One value a row; null where an input is null, and where a ratio's divisor is 0."""
    valid: Bools = np.logical_and.reduce([column.valid for column in inputs])
    if transformation.function.local:
        return _local(transformation, inputs[0], valid)
    first, second = (column.values.astype(np.float64) for column in inputs)
    if transformation.function is Transform.DIFFERENCE:
        return Column(ValueType.DOUBLE, first - second, valid).where(valid)
    valid = valid & (second != 0)
    quotient = np.divide(first, second, out=np.zeros(len(first)), where=valid)
    return Column(ValueType.DOUBLE, quotient, valid).where(valid)


def _local(transformation: Transformation, times: Column, valid: Bools) -> Column:
    zone, read = ZoneInfo(transformation.time_zone), _CLOCKS[transformation.function]
    moments = (_EPOCH + timedelta(microseconds=us) for us in times.values.tolist())
    values = np.fromiter((read(moment.astimezone(zone)) for moment in moments), np.int64, len(times))
    return Column(ValueType.INT64, values, valid).where(valid)


_CLOCKS: Mapping[Transform, Callable[[datetime], int]] = {
    Transform.LOCAL_HOUR: lambda moment: moment.hour,
    Transform.LOCAL_WEEKDAY: datetime.isoweekday,
}
