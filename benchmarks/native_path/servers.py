"""What is compared: a Triton, a bare Envoy before it, and Penstock's Envoy with a policy and both logs."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import grpc
import tritonclient.grpc as triton

from benchmarks.native_path.load import KEY, NoLoad
from deploy.envoy.record import parse
from deploy.local.envoy import program
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from libs.clock import SystemClock
from services.routing.domain.keys import key_hash
from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Inputs,
    ModelVersion,
    Range,
    RateLimit,
    Route,
    Scope,
    Server,
)
from services.routing.domain.snapshot import Snapshot
from services.routing.xds.ads import Ads
from services.routing.xds.resources import compile_snapshot

MODEL = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        xs = [pb.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", x)]) for x in xs]
"""
CONFIG = """
name: "bench" backend: "python" max_batch_size: 64
version_policy { all {} }
input [{ name: "X" data_type: TYPE_FP32 dims: [4] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [4] }]
dynamic_batching {}
instance_group [{ kind: KIND_CPU count: 1 }]
"""
TENANTS = 10_000
"""Each with a key and a limit of its own, beside limits for all tenants and all units."""
FLUSHED_SECONDS = 10.0
"""Longer than Envoy keeps a record back."""
BARE_PORTS = "health_monitoring_metrics", "cost_tracking_metrics"  # of services that do not run here


@dataclass
class Servers:
    """All of them, running."""

    stack: Stack
    bare: int
    triton: int
    penstock: int
    ads: Ads

    def guard(self, *, on: bool) -> None:
        """Whether Penstock looks for keys and counts tokens from now on; returns when Envoy does."""
        inputs = policy(self.triton)
        given = replace(inputs, keys=_keys(), limits=_limits()) if on else inputs
        apply(self.ads, compile_snapshot(given, authentication=on))

    def agree(self, *, through_penstock: int, to_triton: int) -> str:
        """A line that says so. Raises NoLoad unless the records have so many calls and Triton, since it started, too.

        All of them OK, and at the first attempt. What goes through Penstock goes to Triton as well.
        """
        deadline = time.monotonic() + FLUSHED_SECONDS
        while (found := self._recorded()).total() < through_penstock and time.monotonic() < deadline:
            time.sleep(0.1)
        recorded, succeeded = dict(found), self._succeeded()
        said = f"Penstock's records by gRPC status and attempts: {recorded}; Triton counts {succeeded} successes in all"
        if recorded != {(0, 1): through_penstock} or succeeded != to_triton:
            raise NoLoad(f"{through_penstock} calls were sent to Penstock, {to_triton} in all. {said}")
        return f"Every answer has the bytes of an OK one. {said}."

    def peak_mib(self) -> int:
        """The most memory that Penstock's Envoy was ever resident with."""
        status = Path(f"/proc/{self.stack.pid('envoy')}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10  # it says kB

    def _recorded(self) -> collections.Counter[tuple[int, int]]:
        """gRPC statuses and attempts in the records file."""
        with (self.stack.places.data("envoy") / "records.log").open() as file:
            records = (parse(line.rstrip("\n")) for line in file if line.strip())
            return collections.Counter((record.grpc_status, record.attempts) for record in records)

    def _succeeded(self) -> int:
        """What Triton counts, over all versions."""
        with urllib.request.urlopen(f"http://{self.stack.address('triton_a_http')}/v2/models/bench/stats") as reply:
            return sum(version["inference_stats"]["success"]["count"] for version in json.load(reply)["model_stats"])


@contextlib.contextmanager
def running(home: Path) -> Iterator[Servers]:
    ports = Ports.free()
    stack = Stack(Places.of(home), ports, ("triton-a", "envoy"), durable=False)
    with contextlib.ExitStack() as open_ones:
        ads = open_ones.enter_context(_ads(stack.address("routing")))
        open_ones.enter_context(
            _process(sys.executable, "-m", "benchmarks.native_path.sink", stack.address("health_monitoring"))
        )
        open_ones.callback(stack.remove)
        open_ones.callback(stack.stop)
        stack.start(parent=os.getpid())
        _load(stack)
        open_ones.enter_context(_bare_envoy(home, stack))
        servers = Servers(stack, ports[BARE_PORTS[0]], ports["triton_a_grpc"], ports["ingress"], ads)
        servers.guard(on=False)
        yield servers


def _load(stack: Stack) -> None:
    for version in ("1", "2", "3"):
        folder = stack.repository("a") / "bench" / version
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(MODEL)
    (stack.repository("a") / "bench" / "config.pbtxt").write_text(CONFIG)
    with triton.InferenceServerClient(stack.address("triton_a_grpc")) as client:
        client.load_model("bench")


def policy(triton_port: int) -> Inputs:
    """A split of two versions with a third to fall back to: each call has a chain of six attempts."""
    return Inputs(
        servers=(Server("a", "127.0.0.1", triton_port),),
        deployments=tuple(Deployment("bench", version, ("a",)) for version in ("1", "2", "3")),
        routes=(Route("bench", "1", (ModelVersion("bench", "3"),)),),
        allocations=(Allocation("e", "bench", "salt", (Range(0, 5000, "x", "1"), Range(5000, 10000, "y", "2"))),),
    )


@cache
def _keys() -> tuple[ApiKey, ...]:
    others = (f"tenant-{n}" for n in range(1, TENANTS))
    return (
        ApiKey("benchbench24", key_hash(KEY), "tenant-0", "bench", ("caller",)),
        *(ApiKey(f"{n:012}", key_hash(tenant), tenant, "app", ("caller",)) for n, tenant in enumerate(others)),
    )


@cache
def _limits() -> tuple[RateLimit, ...]:
    """Three for each call, which nobody reaches."""
    return (
        *(RateLimit(f"of-{n}", f"tenant-{n}", Scope.TENANT, 1e6, 1_000_000) for n in range(TENANTS)),
        RateLimit("each-tenant", "", Scope.TENANT, 1e6, 1_000_000),
        RateLimit("each-unit", "", Scope.UNIT, 1e6, 1_000_000),
    )


def apply(ads: Ads, snapshot: Snapshot) -> None:
    """Publish it; returns when Envoy has all of it. Raises TimeoutError."""
    applied = threading.Event()
    ads.publish(snapshot)
    for _ in range(1000):
        found = ads.acknowledged("")
        if found and found[1].revision == snapshot.revision:
            return
        applied.wait(0.02)
    raise TimeoutError("Envoy did not acknowledge the policy")


@contextlib.contextmanager
def _ads(address: str) -> Iterator[Ads]:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def serve() -> tuple[Ads, grpc.aio.Server]:
        ads = Ads(SystemClock())
        server = grpc.aio.server()
        ads.register(server)
        server.add_insecure_port(address)
        await server.start()
        return ads, server

    ads, server = asyncio.run_coroutine_threadsafe(serve(), loop).result()
    publish = ads.publish
    ads.publish = lambda snapshot: loop.call_soon_threadsafe(publish, snapshot)  # type: ignore[method-assign]  its loop runs on a thread
    try:
        yield ads
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result()
        loop.call_soon_threadsafe(loop.stop)


@contextlib.contextmanager
def _bare_envoy(home: Path, stack: Stack) -> Iterator[None]:
    """One listener, one route, one cluster: what Envoy costs when it does nothing."""
    kind = "type.googleapis.com/envoy.extensions"
    http2 = {
        "@type": f"{kind}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "triton", "timeout": "0s"}}
    manager = {
        "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{kind}.filters.http.router.v3.Router"}}],
    }
    listener = {
        "address": _address(stack.ports[BARE_PORTS[0]]),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    cluster = {
        "name": "triton",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {
            "cluster_name": "triton",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(stack.ports["triton_a_grpc"])}}]}],
        },
    }
    config = home / "bare.json"
    admin = {"address": _address(stack.ports[BARE_PORTS[1]])}
    config.write_text(
        json.dumps({"admin": admin, "static_resources": {"listeners": [listener], "clusters": [cluster]}})
    )
    with _process(str(program()), "-c", str(config), "--concurrency", "2", "--disable-hot-restart", "-l", "warning"):
        yield


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextlib.contextmanager
def _process(*command: str) -> Iterator[None]:
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        started.terminate()
        started.wait(10)
