"""Who is led to a deployed version: asked before it is taken off its servers."""

from collections.abc import Sequence
from typing import Protocol

from libs.errors import Precondition, Unavailable


class Users(Protocol):
    """The owner of something that names versions."""

    async def uses(self, model: str, version: str) -> Sequence[str]:
        """What names this version, in words; empty when nothing does. Raises Unavailable."""
        ...


async def require_unused(users: Sequence[Users], model: str, version: str) -> None:
    """Raises Precondition DEPLOYMENT_IN_USE with every use, and Unavailable where an owner does not say.

    Taking a version away cannot be undone at once, so silence is no leave; whoever must goes on with `force`.
    """
    try:
        found = [use for user in users for use in await user.uses(model, version)]
    except Unavailable as error:
        message = f"whether version {version} of {model!r} is in use cannot be told: {error.message}; or say force"
        raise Unavailable(error.reason, message, retry_after_seconds=1) from error
    if found:
        uses = " and ".join(found)
        message = f"version {version} of {model!r} is {uses}: change that first, or say force"
        raise Precondition("DEPLOYMENT_IN_USE", message, model=model, version=version, uses="; ".join(found))
