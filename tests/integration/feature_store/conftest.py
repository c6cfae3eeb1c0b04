"""The service with every interceptor, on a port of its own, with a real Postgres, a real Redis and real files."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import grpc
import pytest

from libs.channels import open_channel
from libs.interceptors import ServiceInterceptor
from libs.serve import Address, ended
from penstock.feature_store.v1 import feature_registry_service_pb2_grpc, feature_serving_service_pb2_grpc
from services.feature_store.__main__ import build
from services.feature_store.config import Config
from tests.polling import eventually_async


@asynccontextmanager
async def serving(dsn, redis_url, history):
    app = await build(
        Config(Address("127.0.0.1:0", 0), postgres_dsn=dsn, redis_url=redis_url, history=history, workers=1)
    )
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    app.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    background = [asyncio.create_task(work) for work in app.background]
    channel = open_channel(f"127.0.0.1:{port}")
    try:
        await eventually_async(lambda: all(up() for up in app.components.values()), message="the stores are reachable")
        yield SimpleNamespace(
            registry=feature_registry_service_pb2_grpc.FeatureRegistryServiceStub(channel),
            features=feature_serving_service_pb2_grpc.FeatureServingServiceStub(channel),
            components=app.components,
        )
    finally:
        await channel.close()
        await ended(background)
        await server.stop(0)
        for close in app.close:
            await close()


@pytest.fixture
async def service(fresh_database, redis_url, tmp_path):
    async with serving(fresh_database, redis_url, tmp_path / "history") as service:
        yield service
