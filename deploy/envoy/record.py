"""One line of the records file, read. The fields and what may be billed or counted are told in README.md."""

from dataclasses import dataclass, fields

FORMAT = "1"
SERVED = frozenset({"split", "pinned", "mirror"})


@dataclass(frozen=True, slots=True)
class Record:
    """A request as one hop saw it; where there is nothing to say, text is empty, a number 0, `grpc_status` -1."""

    request_id: str
    hop: str
    route: str
    start_ns: int
    duration_us: int
    upstream_us: int
    http_status: int
    grpc_status: int
    attempts: int
    upstream: str
    flags: str
    bytes_in: int
    bytes_out: int
    tenant: str
    principal: str
    model: str
    version: str
    variant: str
    experiment: str
    degraded: str
    unit: str
    client_request_id: str

    @property
    def reached_triton(self) -> bool:
        """Whether this is the hop that an inference is billed on."""
        return self.route in SERVED and self.upstream != ""


_FIELDS = fields(Record)


def parse(line: str) -> Record:
    """Read a line without its line break. Raises ValueError for a line that is cut short or of another format."""
    version, *values = line.split("\t")
    if version != FORMAT or len(values) != len(_FIELDS):
        raise ValueError(f"not a record of format {FORMAT} with {len(_FIELDS)} fields: {line[:200]!r}")
    texts = dict(zip((field.name for field in _FIELDS), values, strict=True))
    texts |= {name: "" for name in ("model", "flags") if texts[name] == "-"}  # Envoy's word for none
    numbers = {field.name: int(texts[field.name] or _absent(field.name)) for field in _FIELDS if field.type is int}
    return Record(**{**texts, **numbers})


def _absent(field: str) -> int:
    return -1 if field == "grpc_status" else 0
