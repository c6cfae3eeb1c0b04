"""model_serving in this process, on real Postgres and real Tritons."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from libs.interceptors import ServiceInterceptor
from libs.serve import ended
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Deployment, Placement
from penstock.model_serving.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.model_serving.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from penstock.model_serving.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.model_serving import config
from services.model_serving.__main__ import build
from tests.models import shift
from tests.polling import eventually_async

SECONDS = 30


@asynccontextmanager
async def serving(dsn, folder, *, mesh="127.0.0.1:1", **variables):
    """A replica and stubs for it. `mesh` stands where Envoy's listener would."""
    settings = config.read(
        {
            "PENSTOCK_POSTGRES_DSN": dsn,
            "PENSTOCK_ARTIFACTS_DIR": str(folder / "artifacts"),
            "PENSTOCK_MESH_ADDRESS": mesh,
            "PENSTOCK_HTTP_LISTEN": "127.0.0.1:0",
            "PENSTOCK_UNLOAD_DRAIN_SECONDS": "0.5",
            **variables,
        }
    )
    app = await build(settings)
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    app.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    work = [asyncio.create_task(background) for background in app.background]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        await eventually_async(lambda: all(up() for up in app.components.values()), message="it serves")
        yield SimpleNamespace(
            address=f"127.0.0.1:{port}",
            artifacts=settings.artifacts,
            models=ModelRegistryServiceStub(channel),
            deployments=DeploymentServiceStub(channel),
            predictions=PredictionServiceStub(channel),
            inference=service_pb2_grpc.GRPCInferenceServiceStub(channel),
        )
    finally:
        await channel.close()
        await server.stop(0)
        await ended(work)
        for close in app.close:
            await close()
        for task in work:
            assert task.cancelled() or task.exception() is None, task.exception()


@pytest.fixture
async def replica(fresh_database, tmp_path):
    """Without servers."""
    async with serving(fresh_database, tmp_path) as running:
        yield running


async def upload(replica, data):
    chunks = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    answer = await replica.models.UploadArtifact(
        iter([reg.UploadArtifactRequest(chunk=chunk) for chunk in chunks]), timeout=SECONDS
    )
    return answer.digest


async def register(replica, model, version, data, **more):
    """A model, if it is new, and its version."""
    known = await replica.models.ListModels(reg.ListModelsRequest(page_size=1000), timeout=SECONDS)
    if model not in {m.name for m in known.models}:
        await replica.models.CreateModel(reg.CreateModelRequest(model=Model(name=model)), timeout=SECONDS)
    if data is not None:
        more["onnx_digest"] = await upload(replica, data)
    made = ModelVersion(model=model, version=str(version), **more)
    created = await replica.models.CreateModelVersion(
        reg.CreateModelVersionRequest(model_version=made), timeout=SECONDS
    )
    return created.model_version


async def deploy(replica, model, version, *servers):
    wanted = Deployment(model=model, version=str(version), servers=servers)
    await replica.deployments.CreateDeployment(dep.CreateDeploymentRequest(deployment=wanted), timeout=SECONDS)


async def deploy_shift(replica, model, *versions):
    """Registered, deployed on every server, and ready there."""
    for version in versions:
        await register(replica, model, version, shift(version))
        await deploy(replica, model, version)
    for version in versions:
        await reaches(replica, model, version, "READY")


async def deployment(replica, model, version):
    asked = dep.GetDeploymentRequest(model=model, version=str(version))
    return (await replica.deployments.GetDeployment(asked, timeout=SECONDS)).deployment


async def reaches(replica, model, version, *states, within=SECONDS):
    """Waits until the placements, by server name, are in these states; one state is that of all."""
    wanted = [Placement.State.Value(f"STATE_{state}") for state in states]

    async def there():
        found = await deployment(replica, model, version)
        now = [placement.state for placement in found.placements]
        expected = wanted * len(now) if len(wanted) == 1 else wanted
        return found if now == expected else None

    return await eventually_async(there, within=within, message=f"{model} {version} becomes {states}")


async def gone(replica, model, version):
    async def asked():
        try:
            await deployment(replica, model, version)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.NOT_FOUND
        return False

    await eventually_async(asked, within=SECONDS, message=f"{model} {version} is gone")
