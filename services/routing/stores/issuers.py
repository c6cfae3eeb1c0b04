"""The file that names issuers of tokens, and the key sets beside it. Whoever changes one of them restarts nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import yaml

from libs.errors import Faults, Invalid
from services.routing.domain.issuers import check_apart, issuer_of
from services.routing.domain.policy import Issuer

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class IssuersFile:
    """YAML or JSON, `{issuers: [{issuer, audiences, jwks, …}]}`; a `jwks` that is a text names a file beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Issuer, ...]:
        """By name. Raises Invalid with every fault, also where a file is not there."""
        faults = Faults()
        content = _content(self._path, "issuers", faults)
        faults.check()
        whole = cast(dict[str, Any], content) if isinstance(content, dict) else {}
        listed = cast(list[Any], whole["issuers"]) if isinstance(whole.get("issuers"), list) else []
        alone = listed and len(whole) == 1
        faults.require(alone, "issuers", "must be a list of at least one, and nothing else stands beside it")
        faults.check()
        found = [self._issuer(each, f"issuers[{index}]", faults) for index, each in enumerate(listed)]
        check_apart(found, faults)
        faults.check()
        return tuple(sorted(found, key=lambda issuer: issuer.name))

    async def watch(self) -> AsyncIterator[tuple[Issuer, ...]]:
        """What the files say, each time that it is something else; they are looked at once a second. While they cannot
        be read, which is told once, the last ones stay in force.
        """
        told, last = "", None
        while True:
            try:
                found = await asyncio.to_thread(self.read)
            except Invalid as error:
                if str(error) != told:
                    told = str(error)
                    log.error("issuers of tokens were not read, the last ones stay in force: %s", told)  # noqa: TRY400  the trace says no more
            else:
                told = ""
                if found != last:
                    last = found
                    yield found
            await asyncio.sleep(LOOK_SECONDS)

    def _issuer(self, content: Any, at: str, faults: Faults) -> Issuer:
        keys = cast(dict[str, Any], content).get("jwks") if isinstance(content, dict) else None
        if isinstance(keys, str):
            keys = _content(self._path.parent / keys, f"{at}.jwks", faults)
        return issuer_of(content, keys, at, faults)


def _content(path: Path, at: str, faults: Faults) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        faults.add(at, f"{path} cannot be read: {error}")
        return None
