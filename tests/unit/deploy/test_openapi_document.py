"""The OpenAPI document: valid, whole, and strict where the service is."""

import json
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from openapi_spec_validator import validate

GEN = Path(__file__).parents[3] / "gen"
DOCUMENT = json.loads((GEN / "openapi.json").read_text())
DESCRIBED = FileDescriptorSet.FromString((GEN / "penstock.binpb").read_bytes())
BOOTSTRAP = (Path(__file__).parents[3] / "deploy" / "envoy" / "bootstrap.yaml").read_text()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()}
TRANSCODED = {
    method.name: f"{file.package}.{service.name}"
    for file in DESCRIBED.file
    for service in file.service
    for method in service.method
    if method.options.HasExtension(annotations_pb2.http)
}


def test_it_is_an_openapi_document():
    validate(DOCUMENT)


def test_every_method_that_has_a_path_is_in_it_and_nothing_else():
    assert set(OPERATIONS) == {*TRANSCODED, "Health", "OpenApi"}


@pytest.mark.parametrize("service", sorted(set(TRANSCODED.values())))
def test_the_ingress_transcodes_each_of_these_services(service):
    assert f"- {service}\n" in BOOTSTRAP


def test_only_predictions_are_more_than_reads():
    verbs = {(path, verb) for path, operations in DOCUMENT["paths"].items() for verb in operations}
    assert {(path, verb) for path, verb in verbs if verb != "get"} == {("/v1/predictions", "post")}


def test_each_variable_of_a_path_is_a_parameter():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            named = {p["name"] for p in operation.get("parameters", []) if p.get("in") == "path"}
            assert named == {part.split("}")[0] for part in path.split("{")[1:]}


def test_everything_has_a_comment():
    assert [name for name, operation in OPERATIONS.items() if not operation["summary"]] == []
    assert [name for name, schema in SCHEMAS.items() if name != "Health" and not schema["description"]] == []


def test_a_question_takes_no_other_fields():
    question = SCHEMAS["JsonQuestion"]
    assert question["additionalProperties"] is False
    assert question["required"] == ["model_id"]


def test_whom_an_operation_is_for():
    assert OPERATIONS["PredictJson"]["description"].endswith("Roles: caller, engineer, admin.")
    assert OPERATIONS["ListModels"]["description"].endswith("Any role may call.")
    assert OPERATIONS["Health"]["security"] == []
