"""Entities that nobody knows, and versions that are in use or do not exist, through the ingress."""

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from libs.statuses import reason_of
from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1.experiment_pb2 import Experiment, Variant
from penstock.feature_store.v1 import feature_registry_service_pb2 as fr
from penstock.feature_store.v1.feature_serving_service_pb2 import GetOnlineFeaturesRequest
from penstock.feature_store.v1.feature_view_pb2 import (
    BatchSource,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    Field,
)
from penstock.feature_store.v1.value_pb2 import FEATURE_STATUS_NOT_FOUND, VALUE_TYPE_DOUBLE, VALUE_TYPE_STRING
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Deployment
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.model_serving.v1.prediction_service_pb2 import DEGRADATION_PARTIAL_FEATURES, PredictRequest
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Mirror, Route
from penstock_client import column, value
from tests.models import shift
from tests.serving import await_servers, deploy, serve_shift

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
MODEL = "of-parcels"


def refused(call, request):
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=10)
    return raised.value


def faults(error):
    """(field, description) of every violation."""
    return [
        (violation.field, violation.description)
        for detail in rpc_status.from_call(error).details
        if detail.Unpack(bad := BadRequest())
        for violation in bad.field_violations
    ]


@pytest.fixture(scope="session")
def parcels(penstock):
    """A model that is given the weight of a parcel, by its id; no parcel was ever written."""
    registry = penstock.feature_registry
    parcel = Entity(name="parcel", join_keys=[Field(name="parcel_id", type=VALUE_TYPE_STRING)])
    registry.CreateEntity(fr.CreateEntityRequest(entity=parcel))
    weights = BatchSource(features=[Field(name="weight", type=VALUE_TYPE_DOUBLE)])
    view = FeatureView(name="parcel_weights", entity="parcel", batch=weights)
    registry.CreateFeatureView(fr.CreateFeatureViewRequest(feature_view=view))
    service = FeatureService(name="parcels", features=[FeatureReference(view="parcel_weights", feature="weight")])
    registry.CreateFeatureService(fr.CreateFeatureServiceRequest(feature_service=service))
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name=MODEL)))
    chunks = iter([reg.UploadArtifactRequest(chunk=shift(1, width=1))])
    digest = penstock.models.UploadArtifact(chunks, timeout=10).digest
    version = ModelVersion(model=MODEL, version="1", onnx_digest=digest, feature_service="parcels")
    penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=version))
    deploy(penstock, MODEL, "1")
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=Route(model=MODEL, default_version="1")))
    await_servers(penstock, MODEL, 2)


class TestEntities:
    def test_an_unknown_entity(self, penstock):
        error = refused(penstock.feature_registry.GetEntity, fr.GetEntityRequest(name="nobody"))
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "ENTITY_NOT_FOUND")

    def test_a_view_of_an_unknown_entity(self, penstock):
        batch = BatchSource(features=[Field(name="weight", type=VALUE_TYPE_DOUBLE)])
        view = FeatureView(name="of_nobody", entity="nobody", batch=batch)
        error = refused(penstock.feature_registry.CreateFeatureView, fr.CreateFeatureViewRequest(feature_view=view))
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "ENTITY_NOT_FOUND")
        assert [field for field, _ in faults(error)] == ["feature_view.entity"]

    def test_a_service_of_an_unknown_feature(self, penstock, parcels):
        features = [FeatureReference(view="parcel_weights", feature="height")]
        wanted = FeatureService(name="heights", features=features)
        request = fr.CreateFeatureServiceRequest(feature_service=wanted)
        error = refused(penstock.feature_registry.CreateFeatureService, request)
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "FEATURE_NOT_FOUND")
        assert [field for field, _ in faults(error)] == ["feature_service.features[0]"]
        error = refused(penstock.feature_registry.GetFeatureService, fr.GetFeatureServiceRequest(name="heights"))
        assert reason_of(error) == "FEATURE_SERVICE_NOT_FOUND"

    def test_an_unknown_column_is_told_with_the_one_that_is_missing(self, penstock, parcels):
        request = GetOnlineFeaturesRequest(feature_service="parcels", entities=[column("parcle", ["p"])])
        error = refused(penstock.features.GetOnlineFeatures, request)
        assert (error.code(), reason_of(error)) == (INVALID, "INVALID_REQUEST")
        told = faults(error)
        assert {field for field, _ in told} == {"entities"}
        assert any("parcel_id" in words and "missing" in words for _, words in told)
        assert any("'parcle' is not asked for" in words for _, words in told)

    def test_a_column_of_another_type(self, penstock, parcels):
        request = GetOnlineFeaturesRequest(feature_service="parcels", entities=[column("parcel_id", [1.5])])
        error = refused(penstock.features.GetOnlineFeatures, request)
        assert (error.code(), reason_of(error)) == (INVALID, "INVALID_REQUEST")
        assert [field for field, _ in faults(error)] == ["entities"]

    def test_an_instance_that_nobody_wrote_is_a_status(self, penstock, parcels):
        request = GetOnlineFeaturesRequest(feature_service="parcels", entities=[column("parcel_id", ["lost"])])
        (feature,) = penstock.features.GetOnlineFeatures(request).features
        assert list(feature.statuses) == [FEATURE_STATUS_NOT_FOUND]

    def test_predict_with_an_unknown_entity(self, penstock, parcels):
        request = PredictRequest(model=MODEL, entities={"parcle": value("p")})
        error = refused(penstock.predictions.Predict, request)
        assert (error.code(), reason_of(error)) == (INVALID, "INVALID_REQUEST")
        assert {field for field, _ in faults(error)} == {"entities[parcle]", "entities[parcel_id]"}

    def test_predict_for_an_instance_that_nobody_wrote(self, penstock, parcels):
        answer = penstock.predictions.Predict(PredictRequest(model=MODEL, entities={"parcel_id": value("lost")}))
        assert list(answer.degradations) == [DEGRADATION_PARTIAL_FEATURES]
        assert [feature.status for feature in answer.features] == [FEATURE_STATUS_NOT_FOUND]


class TestVersions:
    def test_a_route_of_what_does_not_exist(self, penstock):
        made = Route(model="nobody", default_version="1", fallback_versions=["2"])
        error = refused(penstock.routing.CreateRoute, rt.CreateRouteRequest(route=made))
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "MODEL_VERSION_NOT_FOUND")
        assert [field for field, _ in faults(error)] == ["route.default_version", "route.fallback_versions[0]"]

    def test_an_experiment_on_what_is_not_deployed(self, penstock, plain):
        variants = [Variant(name="a", version="1", weight=100), Variant(name="b", version="77", weight=100)]
        made = Experiment(name="undeployed", model=plain, variants=variants)
        penstock.experiments.CreateExperiment(exp.CreateExperimentRequest(experiment=made))
        error = refused(penstock.experiments.StartExperiment, exp.StartExperimentRequest(name="undeployed"))
        assert (error.code(), reason_of(error)) == (PRECONDITION, "VERSION_NOT_READY")
        assert [field for field, _ in faults(error)] == ["experiment.variants[1].version"]

    @pytest.mark.parametrize(("version", "use"), [("3", "default version of its route"), ("2", "'split-halves'")])
    def test_a_deployment_that_is_in_use(self, penstock, split, version, use):
        request = dep.DeleteDeploymentRequest(model="split", version=version)
        error = refused(penstock.deployments.DeleteDeployment, request)
        assert (error.code(), reason_of(error)) == (PRECONDITION, "DEPLOYMENT_IN_USE")
        assert use in error.details()
        asked = dep.GetDeploymentRequest(model="split", version=version)
        assert penstock.deployments.GetDeployment(asked).deployment.state == Deployment.STATE_READY

    def test_a_deployment_that_a_route_falls_back_to_or_copies_to(self, penstock):
        mirror = Mirror(version="3", basis_points=1)
        serve_shift(penstock, "leaning", [1, 2, 3], fallback_versions=["2"], mirror=mirror)
        for version, use in (("2", "a fallback of its route"), ("3", "the mirror of its route")):
            request = dep.DeleteDeploymentRequest(model="leaning", version=version)
            error = refused(penstock.deployments.DeleteDeployment, request)
            assert (error.code(), reason_of(error)) == (PRECONDITION, "DEPLOYMENT_IN_USE")
            assert use in error.details()

    def test_a_deployment_that_is_in_use_goes_by_force(self, penstock, parcels):
        request = dep.DeleteDeploymentRequest(model=MODEL, version="1")
        assert reason_of(refused(penstock.deployments.DeleteDeployment, request)) == "DEPLOYMENT_IN_USE"
        request.force = True
        assert penstock.deployments.DeleteDeployment(request).deployment.state == Deployment.STATE_DELETING
        request.force = False
        assert penstock.deployments.DeleteDeployment(request).deployment.state == Deployment.STATE_DELETING
