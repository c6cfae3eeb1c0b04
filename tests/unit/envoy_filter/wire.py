"""Messages as a hostile client writes them, field by field, and the ways in which they arrive."""

from __future__ import annotations

from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

MODEL_NAME, MODEL_VERSION = 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
UNKNOWN = st.one_of(st.integers(20, 5000), st.just(2**29 - 1))

ALPHANUMERIC = "abcxyzABCXYZ0189"
good_names = st.builds("".join, st.tuples(st.sampled_from(ALPHANUMERIC), st.text(ALPHANUMERIC + "_.-", max_size=126)))
odd_names = st.one_of(
    st.text(max_size=20), st.text(ALPHANUMERIC, min_size=120, max_size=140), st.sampled_from(["", "-"])
)
names = st.one_of(good_names, odd_names)


def varint(value: int, padding: int = 0) -> bytes:
    """`padding` bytes longer than it need be."""
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127)
    digits += [0] * padding
    return bytes([*(digit | 128 for digit in digits[:-1]), digits[-1]])


def bytes_field(number: int, content: bytes, padding: int = 0) -> bytes:
    return varint(number << 3 | BYTES, padding) + varint(len(content), padding) + content


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


@st.composite
def unknown_fields(draw: st.DrawFn) -> bytes:
    # a field of ours in another wire type is one that nobody knows, too
    number = draw(st.one_of(UNKNOWN, st.sampled_from([MODEL_NAME, MODEL_VERSION])))
    kind = draw(st.sampled_from([VARINT, FIXED64, FIXED32] + [BYTES] * (number > MODEL_VERSION)))
    tag = varint(number << 3 | kind, draw(st.integers(0, 5 - len(varint(number << 3)))))
    if kind == VARINT:
        value = draw(st.integers(0, 2**64 - 1))
        return tag + varint(value, draw(st.integers(0, 10 - len(varint(value)))))
    if kind == BYTES:
        content = draw(st.binary(max_size=300))
        return tag + varint(len(content), draw(st.integers(0, 2))) + content
    size = 8 if kind == FIXED64 else 4
    return tag + draw(st.binary(min_size=size, max_size=size))


named_fields = st.builds(
    lambda number, name, padding: bytes_field(number, name.encode(), padding),
    st.sampled_from([MODEL_NAME, MODEL_VERSION]),
    names,
    st.integers(0, 3),
)


def _request(name: str, version: str, identity: str, shape: list[int], raw: bytes) -> bytes:
    message = pb.ModelInferRequest(model_name=name, model_version=version, id=identity)
    message.inputs.add(name="X", datatype="FP32", shape=shape)
    message.raw_input_contents.append(raw)
    return message.SerializeToString()


requests = st.builds(
    _request, names, names, st.text(max_size=10), st.lists(st.integers(-1, 2**40), max_size=3), st.binary(max_size=5000)
)

messages = st.lists(st.one_of(named_fields, requests, unknown_fields()), max_size=8).map(b"".join)
"""Messages that protobuf can parse: requests run together are one message, in which the last value wins."""


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Messages in which a byte has another value, is missing, or stands between two others."""
    message = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(message)))
        message[at : at + draw(st.integers(0, 1))] = draw(st.binary(max_size=2))
    return bytes(message[: draw(st.integers(0, len(message)))] if draw(st.booleans()) else message)


@st.composite
def slices_of(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """As it may lie in Envoy's buffers: cut anywhere, empty slices among them."""
    cuts = draw(st.lists(st.integers(0, len(whole)), max_size=24).map(sorted))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
