"""Where servers may be, and how many may be named."""

import pytest

from libs.errors import Faults, Invalid
from services.model_serving.domain.address import is_address
from services.model_serving.domain.deployment import check_servers


@pytest.mark.parametrize(
    "address",
    ["triton:8001", "127.0.0.1:1", "a-1.b.example:65535", "[::1]:8001", "x" * 63 + ":8001", "3com.example:8001"],
)
def test_addresses(address):
    assert is_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "", "triton", ":8001", "triton:", "triton:0", "triton:65536", "triton:08001", "triton:\u0668",
        "http://triton:8001", "dns:///triton:8001", "a_b:8001", "-a:8001", "a-:8001", "a..b:8001", "a b:8001", "é:8001",
        "256.0.0.1:8001", "1.2.3:8001", "::1:8001", "[::1:8001", "[]:8001", "[fe80::1%eth0]:8001", "triton:8001/",
        "x" * 64 + ":8001", ".".join(["x" * 60] * 5) + ":8001", "triton:8001\n",
    ],
)  # fmt: skip
def test_what_is_no_address(address):
    assert not is_address(address)


def blamed(names):
    faults = Faults()
    check_servers(names, faults)
    try:
        faults.check()
    except Invalid as invalid:
        return {violation.field for violation in invalid.violations}
    return set()


def test_a_server_is_named_once():
    assert blamed(["a", "b", "a"]) == {"deployment.servers[2]"}
    assert not blamed([])


def test_servers_are_counted_before_they_are_compared():
    assert not blamed([str(number) for number in range(1000)])
    assert blamed(["a"] * 20_000) == {"deployment.servers"}
