"""Which call is being answered."""

from contextvars import ContextVar

_method: ContextVar[str] = ContextVar("method", default="")


def method() -> str:
    """`/package.Service/Method`; empty outside every call."""
    return _method.get()


def enter(name: str) -> None:
    """Set the method for the rest of this call."""
    _method.set(name)
