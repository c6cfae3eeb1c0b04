"""Counters of others, for the reconciliation: Envoy's admin endpoint and the servers' metrics endpoints."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import grpc
from prometheus_client.parser import text_string_to_metric_families

from penstock.model_serving.v1.deployment_pb2 import Server
from penstock.model_serving.v1.deployment_service_pb2 import ListServersRequest
from penstock.model_serving.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from services.cost_tracking.domain.reconciliation import Reading

DEADLINE_SECONDS = 2.0
HOPS = ("ingress", "mesh", "mirror")
# deploy/envoy/bootstrap.yaml counts each line of the record log under this name, by listener and route
ENVOY_COUNTER = "inference.{hop}.downstream_rq_completed.route.{route}"
SERVED_ROUTES = ("split", "pinned", "mirror")
# Triton's nv_inference_request_success; the parser gives every counter the ending of OpenMetrics
SERVER_COUNTER = "nv_inference_request_success_total"


class EnvoyCounters:
    """Inferences that each listener completed on a route to a server, since Envoy started."""

    def __init__(self, admin: str) -> None:
        self._admin = admin

    async def read(self) -> Sequence[Reading]:
        sources = [f"envoy/{hop}" for hop in HOPS]
        try:
            answer = await _get(f"http://{self._admin}/stats?format=json&filter={quote('^inference[.]')}")
            counters = {stat["name"]: stat["value"] for stat in json.loads(answer)["stats"] if "value" in stat}
        except (OSError, ValueError, KeyError) as error:
            return [Reading(source, None, f"{self._admin}: {_words(error)}") for source in sources]
        return [Reading(source, completed(counters, hop)) for source, hop in zip(sources, HOPS, strict=True)]


def completed(counters: Mapping[str, int], hop: str) -> int:
    """Inferences on routes to servers, however they ended."""
    # a counter exists from its first inference on
    return sum(counters.get(ENVOY_COUNTER.format(hop=hop, route=route), 0) for route in SERVED_ROUTES)


class ServerCounters:
    """Successful inferences of every server that model_serving knows, since each started."""

    def __init__(self, mesh: grpc.aio.Channel) -> None:
        self._deployments = DeploymentServiceStub(mesh)

    async def read(self) -> Sequence[Reading]:
        try:
            servers = await self._servers()
        except grpc.aio.AioRpcError as error:
            words = f"model_serving did not name the servers: {error.code().name} {error.details()}"
            return [Reading("triton", None, words)]
        return await asyncio.gather(*(_read_server(server) for server in servers))

    async def _servers(self) -> list[Server]:
        found: list[Server] = []
        token = ""
        while True:
            request = ListServersRequest(page_size=1000, page_token=token)
            answer = await self._deployments.ListServers(request, timeout=DEADLINE_SECONDS)
            found += answer.servers
            token = answer.next_page_token
            if not token:
                return found


async def _read_server(server: Server) -> Reading:
    source = f"triton/{server.name}"
    if not server.metrics_address:
        return Reading(source, None, "it was registered without the address of its metrics")
    try:
        text = await _get(f"http://{server.metrics_address}/metrics")
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    except (OSError, ValueError) as error:
        return Reading(source, None, f"{server.metrics_address}: {_words(error)}")
    return Reading(source, sum(int(sample.value) for sample in samples if sample.name == SERVER_COUNTER))


async def _get(url: str) -> str:
    return await asyncio.wait_for(asyncio.to_thread(_fetch, url), DEADLINE_SECONDS * 2)


def _fetch(url: str) -> str:
    with urlopen(url, timeout=DEADLINE_SECONDS) as answer:  # noqa: S310  an address of our own configuration
        return answer.read().decode()


def _words(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    return str(cause) or type(error).__name__
