"""A keeper hears when its Envoy has all of a policy; an Envoy by itself, which would not understand, does not."""

import asyncio
import contextlib

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from libs.clock import SystemClock
from services.routing.domain.policy import Inputs, Route
from services.routing.xds.ads import Ads
from services.routing.xds.resources import CDS, RDS, SRDS, compile_snapshot


class Envoy:
    """Asks for everything and accepts all of it."""

    def __init__(self, ads, **how):
        self._requests = asyncio.Queue()
        self._answers = ads.serve(self._asked(), **how)
        first = discovery_pb2.DeltaDiscoveryRequest(type_url=CDS)
        first.node.id = "an-envoy"
        self._requests.put_nowait(first)
        self._requests.put_nowait(discovery_pb2.DeltaDiscoveryRequest(type_url=SRDS))

    async def _asked(self):
        while True:
            yield await self._requests.get()

    async def hears(self, answers):
        """The next answers, each accepted; of scopes, their tables are asked for."""
        heard = []
        for _ in range(answers):
            answer = await asyncio.wait_for(anext(self._answers), 5)
            heard.append((answer.type_url, answer.system_version_info))
            if answer.type_url == SRDS:
                names = [resource.name for resource in answer.resources]
                self._requests.put_nowait(
                    discovery_pb2.DeltaDiscoveryRequest(type_url=RDS, resource_names_subscribe=names)
                )
            if answer.type_url:
                accepted = discovery_pb2.DeltaDiscoveryRequest(type_url=answer.type_url, response_nonce=answer.nonce)
                self._requests.put_nowait(accepted)
        return heard


@pytest.fixture
async def ads():
    return Ads(SystemClock())


@pytest.fixture
async def envoys(ads):
    async with contextlib.AsyncExitStack() as ending:

        def envoy(**how):
            made = Envoy(ads, **how)
            ending.push_async_callback(made._answers.aclose)
            return made

        yield envoy


async def test_a_keeper_hears_of_each_policy_once(ads, envoys):
    envoy = envoys(kept=True)
    one = compile_snapshot(Inputs())
    ads.publish(one)
    heard = await envoy.hears(4)
    assert heard[-1] == ("", one.revision)
    assert {url for url, _ in heard[:-1]} == {CDS, SRDS, RDS}
    ads.publish(one)
    two = compile_snapshot(Inputs(routes=(Route("m", "1"),)))
    ads.publish(two)
    heard = await envoy.hears(3)
    assert [url for url, _ in heard] == [SRDS, RDS, ""]
    assert heard[-1] == ("", two.revision)


async def test_nothing_is_whole_before_there_is_a_policy(ads, envoys):
    envoy = envoys(kept=True)
    doors = await envoy.hears(3)
    assert {version for _, version in doors} == {""}
    snapshot = compile_snapshot(Inputs())
    ads.publish(snapshot)
    assert await envoy.hears(1) == [("", snapshot.revision)], "it had all of it already"


async def test_an_envoy_by_itself_is_told_nothing_of_the_kind(ads, envoys):
    envoy = envoys()
    ads.publish(compile_snapshot(Inputs()))
    assert {url for url, _ in await envoy.hears(3)} == {CDS, SRDS, RDS}
    ads.publish(compile_snapshot(Inputs(routes=(Route("m", "1"),))))
    assert [url for url, _ in await envoy.hears(2)] == [SRDS, RDS]
