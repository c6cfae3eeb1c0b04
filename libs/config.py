"""Configuration from the environment: every fault is reported at once, and a secret never has a default."""

from collections.abc import Mapping
from pathlib import Path


class ConfigError(Exception):
    """Says in one message everything that is wrong with the environment."""


class Environment:
    """Read every setting, then call `check()` once, before any is used."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._faults: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        value = self._variables.get(name) or default
        if value is None:
            self._faults.append(f"{name} is not set")
            return ""
        return value

    def path(self, name: str, default: str | None = None) -> Path:
        return Path(self.text(name, default))

    def integer(self, name: str, default: int | None = None, *, least: int = 0) -> int:
        return int(self.number(name, default, least=least, whole=True))

    def number(self, name: str, default: float | None = None, *, least: float = 0, whole: bool = False) -> float:
        text = self.text(name, None if default is None else str(default))
        if not text:
            return 0
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            self._faults.append(f"{name}={text!r} is not a {'whole ' if whole else ''}number")
            return 0
        if value < least:
            self._faults.append(f"{name}={text} is less than {least}")
        return value

    def address(self, name: str, default: str | None = None) -> str:
        """host:port."""
        text = self.text(name, default)
        return self._address(name, text) if text else text

    def addresses(self, name: str) -> tuple[str, ...]:
        """One or more, `host:port,host:port`."""
        text = self.text(name)
        return tuple(self._address(name, each.strip()) for each in text.split(",")) if text else ()

    def _address(self, name: str, text: str) -> str:
        host, _, port = text.rpartition(":")
        if not (host and port.isdigit() and int(port) < 65536):
            self._faults.append(f"{name}={text!r} is not host:port")
        return text

    def switch(self, name: str, default: bool) -> bool:
        """`on` or `off`."""
        text = self.text(name, "on" if default else "off")
        if text not in ("on", "off"):
            self._faults.append(f"{name}={text!r} is neither on nor off")
        return text == "on"

    def pairs(self, name: str, default: str | None = None) -> dict[str, str]:
        """`a=x,b=y`."""
        text = self.text(name, default)
        pairs = [part.partition("=") for part in text.split(",") if part]
        for key, equals, value in pairs:
            if not (key and equals and value):
                self._faults.append(f"{name}: {key!r} is not of the form name=value")
        return {key.strip(): value.strip() for key, _, value in pairs}

    def check(self) -> None:
        if self._faults:
            raise ConfigError("cannot start:\n" + "\n".join(f"  {fault}" for fault in self._faults))
