"""Prices between the wire and the domain."""

from penstock.cost_tracking.v1 import price_pb2
from services.cost_tracking.domain.price import Meter, Price
from services.cost_tracking.servers import times

METERS = {price_pb2.METER_REQUEST: Meter.REQUEST, price_pb2.METER_COMPUTE_SECOND: Meter.COMPUTE_SECOND}
WIRE_METERS = {meter: wire for wire, meter in METERS.items()}


def encode(price: Price) -> price_pb2.Price:
    return price_pb2.Price(
        id=price.id,
        meter=WIRE_METERS[price.meter],
        model=price.model,
        version=price.version,
        # a decimal is never normalized to an exponent here, only relieved of the zeros that the column pads it with
        nanodollars_per_unit=_plain(f"{price.nanodollars_per_unit:f}"),
        effective_from=times.encode(price.effective_from),
        effective_to=times.encode(price.effective_to) if price.effective_to else None,
        create_time=times.encode(price.create_time),
    )


def _plain(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
