"""The pure parts of the filters as Python sees them; every byte that they may touch ends where none may."""

from __future__ import annotations

import ctypes
import mmap
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.envoy.filter import build

_PARTS = ("message", "chain", "way", "key", "identifier", "bulkhead", "sha256", "access", "token", "buckets", "details")
PURE = ("abi.h", *(f"{part}.{kind}" for part in _PARTS for kind in "hc"))
FAULTS = "undefined,local-bounds"
CHECKS = (f"-fsanitize={FAULTS}", f"-fsanitize-trap={FAULTS}", "-ftrivial-auto-var-init=pattern")
"""What C leaves undefined ends the process, and so does an index beyond an array; what was never set is never 0."""

READ, CUT_SHORT, UNREADABLE = range(3)
LONGEST_NAME = 127
TAKEN, NOT_OURS, UNNAMED, FOREIGN = range(4)
_LONGEST_FIELDS = 2 * (2 + LONGEST_NAME)
_FAULT_ROOM = 100
_ID_LENGTH = 36
_DETAILS_ROOM = 1024
_NO_ACCESS = 0

libc = ctypes.CDLL(None, use_errno=True)
libc.free.argtypes = (ctypes.c_void_p,)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class View(ctypes.Structure):
    _fields_ = (("ptr", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Name(ctypes.Structure):
    _fields_ = (
        ("fits", ctypes.c_bool),
        ("size", ctypes.c_size_t),
        ("text", ctypes.c_ubyte * LONGEST_NAME),
    )

    def value(self) -> bytes | None:
        """None where it is longer than any name may be."""
        return bytes(self.text[: self.size]) if self.size <= LONGEST_NAME else None


class Names(ctypes.Structure):
    _fields_ = (("model", Name), ("version", Name))


class _Target(ctypes.Structure):
    _fields_ = (("version", View), ("size", ctypes.c_size_t), ("fields", ctypes.c_ubyte * _LONGEST_FIELDS))


class Room(ctypes.Structure):
    _fields_ = (
        ("of", ctypes.c_void_p),
        ("most", ctypes.c_uint),
        ("most_waiting", ctypes.c_uint),
        ("most_bytes", ctypes.c_uint),
    )


class _Way(ctypes.Structure):
    _fields_ = (
        ("room", Room),
        ("chain", View),
        ("first", _Target),
        *((name, View) for name in ("version", "variant", "experiment", "degraded")),
    )


@dataclass(frozen=True)
class Way:
    """Limits, what the first attempt's message is given, and texts by their words."""

    room: tuple[int, int, int]
    first: bytes
    said: dict[str, bytes]


@dataclass(frozen=True)
class Target:
    version: bytes
    fields: bytes


class Limit(ctypes.Structure):
    _fields_ = (
        ("name", View),
        ("tenant", View),
        ("of_unit", ctypes.c_bool),
        ("shadow", ctypes.c_bool),
        ("interval", ctypes.c_uint64),
        ("burst", ctypes.c_uint64),
        ("hash", ctypes.c_uint64),
    )


class Caller(ctypes.Structure):
    _fields_ = (
        ("hash", ctypes.c_uint8 * 32),
        ("tenant", View),
        ("principal", View),
        ("roles", View),
        ("infers", ctypes.c_bool),
        ("own", ctypes.POINTER(Limit)),
        ("each", ctypes.POINTER(Limit)),
        ("owns", ctypes.c_size_t),
        ("eachs", ctypes.c_size_t),
        ("tenant_hash", ctypes.c_uint64),
    )


class _Claims(ctypes.Structure):
    _fields_ = (("issuer", View), ("tenant", View), ("principal", View), ("roles", View))


class _Bearer(ctypes.Structure):
    _fields_ = (
        ("who", Caller),
        ("tenant", ctypes.c_char * LONGEST_NAME),
        ("principal", ctypes.c_char * LONGEST_NAME),
        ("roles", ctypes.c_char * 63),
    )


class Withdrawal(ctypes.Structure):
    _fields_ = (("taken", ctypes.c_bool), ("left", ctypes.c_uint64), ("wait", ctypes.c_uint64))


@dataclass(frozen=True)
class Who:
    """A caller as the filter knows it; limits by name, its tenant's own and those of each, in any order."""

    tenant: bytes
    principal: bytes
    roles: bytes
    infers: bool
    limits: frozenset[bytes]


class Access:
    """Who may call, read from a text."""

    def __init__(self, library: ctypes.CDLL, known: int) -> None:
        self._library = library
        self._known = known

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.forget_access(self._known)

    def asks(self) -> bool:
        return self._library.asks_for_keys(self._known)

    def caller(self, key: bytes) -> Who | None:
        guarded = Guarded(key)
        return _who(self._library.caller_with(self._known, guarded.view))

    def takes_tokens(self) -> bool:
        return self._library.takes_tokens(self._known)

    def bearer(
        self, issuer: bytes | None, tenant: bytes | None, principal: bytes | None, roles: bytes | None
    ) -> tuple[int, Who | None]:
        """What is made of a token's claims, and who it is where it is taken."""
        verdict, made = self._bearer(issuer, tenant, principal, roles)
        return verdict, _who(ctypes.pointer(made.who)) if verdict == TAKEN else None

    def buckets_of_bearer(self, issuer: bytes, tenant: bytes, unit: bytes) -> dict[bytes, int]:
        """As `buckets`, of a caller by token."""
        guarded, (verdict, made) = Guarded(unit), self._bearer(issuer, tenant, b"me", None)
        assert verdict == TAKEN
        return {
            _text(limit.name): self._library.bucket_of(ctypes.byref(limit), ctypes.byref(made.who), guarded.view)
            for limit in _limits(made.who)
        }

    def _bearer(self, *claims: bytes | None) -> tuple[int, _Bearer]:
        guarded = [None if claim is None else Guarded(claim) for claim in claims]
        said, made = _Claims(*(View() if each is None else each.view for each in guarded)), _Bearer()
        return self._library.read_claims(self._known, ctypes.byref(said), ctypes.byref(made)), made

    def local(self) -> Who | None:
        return _who(self._library.local_caller(self._known))

    def origin(self, of_page: bytes) -> bytes | None:
        """What the page is told; None where it may not call."""
        guarded = Guarded(of_page)
        told = self._library.allowed_origin(self._known, guarded.view)
        return _text(told) if told.ptr else None

    def buckets(self, key: bytes, unit: bytes) -> dict[bytes, int]:
        """By limit, the bucket that a call with this key counts against."""
        held, guarded = Guarded(key), Guarded(unit)
        found = self._library.caller_with(self._known, held.view)
        return {
            _text(limit.name): self._library.bucket_of(ctypes.byref(limit), found, guarded.view)
            for limit in _limits(found.contents)
        }


class Guarded:
    """Bytes behind which lies a page that nobody may touch."""

    def __init__(self, content: bytes) -> None:
        room = -(-max(len(content), 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._pages = mmap.mmap(-1, room + mmap.PAGESIZE)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        if libc.mprotect(begin + room, mmap.PAGESIZE, _NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
        self._at = room - len(content)
        self._size = len(content)
        self._pages[self._at : room] = content
        self.view = View(begin + self._at, len(content))

    def content(self) -> bytes:
        return self._pages[self._at : self._at + self._size]


class Filters:
    """The library, one method for each function."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        for name, answer, arguments in (
            ("read_names", ctypes.c_int, (ctypes.POINTER(View), ctypes.c_size_t, ctypes.POINTER(Names))),
            ("lengthen_frame", ctypes.c_bool, (ctypes.POINTER(View), ctypes.c_size_t, ctypes.c_size_t)),
            ("target_of", ctypes.c_bool, (View, ctypes.c_ulong, ctypes.POINTER(_Target))),
            ("way_of", ctypes.POINTER(_Way), (View, View)),
            ("is_key", ctypes.c_bool, (View, ctypes.POINTER(ctypes.c_char))),
            ("id_text", None, (ctypes.c_char_p, ctypes.POINTER(ctypes.c_char))),
            ("new_id", ctypes.c_bool, (ctypes.POINTER(ctypes.c_char),)),
            ("sha256", None, (ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_char))),
            ("read_access", ctypes.c_void_p, (View,)),
            ("forget_access", None, (ctypes.c_void_p,)),
            ("asks_for_keys", ctypes.c_bool, (ctypes.c_void_p,)),
            ("caller_with", ctypes.POINTER(Caller), (ctypes.c_void_p, View)),
            ("takes_tokens", ctypes.c_bool, (ctypes.c_void_p,)),
            (
                "read_claims",
                ctypes.c_int,
                (ctypes.c_void_p, ctypes.POINTER(_Claims), ctypes.POINTER(_Bearer)),
            ),
            ("local_caller", ctypes.POINTER(Caller), (ctypes.c_void_p,)),
            ("allowed_origin", View, (ctypes.c_void_p, View)),
            ("bucket_of", ctypes.c_uint64, (ctypes.POINTER(Limit), ctypes.POINTER(Caller), View)),
            ("take_token", Withdrawal, (ctypes.c_uint64,) * 4),
            ("return_token", None, (ctypes.c_uint64,) * 2),
            ("details_of", View, (ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char))),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = answer, arguments

    def read_names(self, slices: Sequence[bytes]) -> tuple[int, Names]:
        guarded = [Guarded(content) for content in slices]
        found = Names()
        return self._library.read_names(_views(guarded), len(guarded), ctypes.byref(found)), found

    def lengthen_frame(self, slices: Sequence[bytes], size: int) -> list[bytes] | None:
        """The slices as they are now; None where it says that it could not."""
        guarded = [Guarded(content) for content in slices]
        done = self._library.lengthen_frame(_views(guarded), len(guarded), size)
        now = [one.content() for one in guarded]
        assert done or now == list(slices), "it could not, and has written all the same"
        return now if done else None

    def target_of(self, chain: bytes, attempt: int) -> Target | None:
        guarded = Guarded(chain)
        found = _Target()
        if not self._library.target_of(guarded.view, attempt, ctypes.byref(found)):
            return None
        version = ctypes.string_at(found.version.ptr, found.version.length)
        return Target(version, bytes(found.fields[: found.size]))

    def way_of(self, model: bytes, said: bytes) -> Way | None:
        texts = [Guarded(text) for text in (model, said)]
        found = self._library.way_of(*(text.view for text in texts))
        if not found:
            return None
        way, words = found.contents, ("chain", "version", "variant", "experiment", "degraded")
        views = {word: getattr(way, word) for word in words}
        texts_of = {word: ctypes.string_at(view.ptr, view.length) for word, view in views.items() if view.ptr}
        made = Way(
            (way.room.most, way.room.most_waiting, way.room.most_bytes),
            bytes(way.first.fields[: way.first.size]),
            texts_of,
        )
        libc.free(found)
        return made

    def fault_of(self, key: bytes) -> str:
        """Empty where the key is fit."""
        guarded = Guarded(key)
        room = Guarded(bytes(_FAULT_ROOM))
        fits = self._library.is_key(guarded.view, _characters(room))
        fault = room.content().partition(b"\0")[0].decode("ascii")
        assert fits == (not fault)
        return fault

    def sha256(self, content: bytes) -> bytes:
        guarded, room = Guarded(content), Guarded(bytes(32))
        self._library.sha256(guarded.view.ptr, len(content), _characters(room))
        return room.content()

    def access(self, text: bytes) -> Access | None:
        """None where the text cannot be read."""
        guarded = Guarded(text)
        known = self._library.read_access(guarded.view)
        return Access(self._library, known) if known else None

    def take(self, bucket: int, now: int, interval: int, burst: int) -> Withdrawal:
        return self._library.take_token(bucket, now, interval, burst)

    def give_back(self, bucket: int, interval: int) -> None:
        self._library.return_token(bucket, interval)

    def details(self, status: int, reason: str, message: str) -> str:
        room = Guarded(bytes(_DETAILS_ROOM))
        made = self._library.details_of(status, reason.encode(), message.encode(), _characters(room))
        return room.content()[: made.length].decode("ascii")

    def id_of(self, random: bytes) -> str:
        """The id of 16 bytes."""
        room = Guarded(bytes(_ID_LENGTH))
        self._library.id_text(random, _characters(room))
        return room.content().decode("ascii")

    def new_ids(self, count: int) -> list[str]:
        """So many of this thread's own."""
        made = []
        for _ in range(count):
            room = Guarded(bytes(_ID_LENGTH))
            assert self._library.new_id(_characters(room))
            made.append(room.content().decode("ascii"))
        return made


def compiled(folder: Path) -> Filters:
    """Compile what needs nothing of Envoy, so that any fault ends the process."""
    sources = folder / "filter"
    sources.mkdir()
    for file in PURE:
        shutil.copy(build.SOURCES / file, sources)
    library = folder / build.NAME
    build.compile_to(library, sources=sources, checks=CHECKS)
    return Filters(library)


def _views(guarded: Sequence[Guarded]) -> ctypes.Array[View]:
    return (View * len(guarded))(*(one.view for one in guarded))


def _characters(room: Guarded) -> ctypes._Pointer[ctypes.c_char]:
    return ctypes.cast(room.view.ptr or 0, ctypes.POINTER(ctypes.c_char))


def _text(of: View) -> bytes:
    return ctypes.string_at(of.ptr, of.length) if of.length else b""


def _limits(of: Caller) -> list[Limit]:
    return [*of.own[: of.owns], *of.each[: of.eachs]]


def _who(found: ctypes._Pointer[Caller]) -> Who | None:
    if not found:
        return None
    of = found.contents
    names = [_text(limit.name) for limit in _limits(of)]
    assert len(set(names)) == len(names)
    return Who(_text(of.tenant), _text(of.principal), _text(of.roles), of.infers, frozenset(names))
