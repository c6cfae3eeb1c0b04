"""An Envoy's stream ends as the reading of its requests did."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from libs.clock import SystemClock
from libs.errors import Invalid, Violation
from services.routing.xds.ads import Ads


async def requests(error=None):
    first = discovery_pb2.DeltaDiscoveryRequest()
    first.node.id = "an-envoy"
    yield first
    if error is not None:
        raise error


async def test_a_malformed_request_is_no_orderly_end():
    ads = Ads(SystemClock())
    with pytest.raises(Invalid):
        [_ async for _ in ads.serve(requests(Invalid([Violation("", "no request")])))]
    assert [proxy.connected for proxy in ads.proxies()] == [False]


async def test_an_envoy_may_leave():
    ads = Ads(SystemClock())
    assert [_ async for _ in ads.serve(requests())] == []
    assert [proxy.connected for proxy in ads.proxies()] == [False]
