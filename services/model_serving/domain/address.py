"""host:port, as servers are reached."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

RULE = "host:port: a hostname, an IPv4 address or an [IPv6 address], and a port of 1 to 65535, without a scheme"
LONGEST_HOST = 253
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
PORT = re.compile(r"[1-9][0-9]{0,4}")


def is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return PORT.fullmatch(port) is not None and int(port) < 65_536 and _is_host(host)


def _is_host(host: str) -> bool:
    if len(host) > LONGEST_HOST:
        return False
    labels = host.split(".")
    try:
        if host.startswith("[") and host.endswith("]"):
            # a zone names an interface of one machine, and others are to reach the server too
            return IPv6Address(host[1:-1]).scope_id is None
        if labels[-1].isdecimal():
            return bool(IPv4Address(host))
    except AddressValueError:
        return False
    return all(LABEL.fullmatch(label) for label in labels)
