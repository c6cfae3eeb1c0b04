"""What may be registered."""

from dataclasses import replace

import pytest

from libs.errors import Faults, Invalid
from services.model_serving.domain.model import Model, check_model, check_version
from services.model_serving.domain.signature import Signature, TensorSpec, check, compare, of_file
from tests.unit.model_serving.model_versions import FOUR, NOON, model_version


def blamed(faults):
    try:
        faults.check()
    except Invalid as invalid:
        return {violation.field for violation in invalid.violations}
    return set()


def faults_of(version, *, external=False):
    faults = Faults()
    check_version(version, faults, external=external)
    return blamed(faults)


def whole(first=-1, inputs=4):
    return Signature((TensorSpec("X", "FP32", (first, inputs)),), (TensorSpec("label", "INT64", (first,)),))


@pytest.mark.parametrize("name", ["a", "flight-delay", "A.b_c-9", "9lives", "x" * 127])
def test_names_of_models(name):
    faults = Faults()
    check_model(Model(name, "", "", "", NOON), faults)
    assert not faults


@pytest.mark.parametrize("name", ["", ".hidden", "..", "-x", "a/b", "a b", "é", "x" * 128, "a\n"])
def test_names_that_no_model_has(name):
    faults = Faults()
    check_model(Model(name, "x" * 5000, "é" * 129, "", NOON), faults)
    assert blamed(faults) == {"model.name", "model.description", "model.owner"}


@pytest.mark.parametrize("version", ["", "0", "01", "-1", "v1", "1.0", "1" * 19, "\u0661"])
def test_what_is_no_version(version):
    assert faults_of(model_version(version)) == {"model_version.version"}


def test_every_fault_is_said_at_once():
    bad = model_version(
        "x", model="", digest="", feature_service="a b", class_labels=("a", "a", ""), max_batch_size=100_000,
        signature=Signature((TensorSpec("", "FLOAT", (0,)),), ()),
    )  # fmt: skip
    assert faults_of(bad) == {
        "model_version.model",
        "model_version.version",
        "model_version.artifact",
        "model_version.feature_service",
        "model_version.class_labels",
        "model_version.class_labels[2]",
        "model_version.max_batch_size",
        "model_version.signature.inputs[0].name",
        "model_version.signature.inputs[0].datatype",
        "model_version.signature.inputs[0].shape",
        "model_version.signature.outputs",
    }


def test_what_is_kept_of_a_version_is_bounded():
    spec = FOUR.inputs[0]
    large = Signature(
        tuple(replace(spec, name=f"X{index}") for index in range(65)),
        (replace(spec, name="é" * 129), replace(spec, name="Z", shape=(1,) * 17)),
    )
    assert faults_of(model_version(signature=large, class_labels=tuple(map(str, range(10_001))))) == {
        "model_version.signature.inputs",
        "model_version.signature.outputs[0].name",
        "model_version.signature.outputs[1].shape",
        "model_version.class_labels",
    }
    most = Signature(
        tuple(replace(spec, name=f"{index:0256}") for index in range(64)), (replace(spec, shape=(1,) * 16),)
    )
    assert not faults_of(model_version(signature=most, class_labels=tuple(map(str, range(10_000)))))


def test_an_external_version_needs_neither_file_nor_signature():
    assert not faults_of(model_version(digest="", signature=Signature(), max_batch_size=None), external=True)


def test_a_file_with_open_first_dimensions_batches():
    faults = Faults()
    signature, size = of_file(whole(), None, faults)
    assert (str(signature.inputs[0]), str(signature.outputs[0]), size) == ("X FP32 [4]", "label INT64 []", 64)
    assert of_file(whole(), 0, faults) == (whole(), 0)
    assert not faults


def test_a_file_with_a_fixed_first_dimension_does_not():
    faults = Faults()
    assert of_file(whole(first=1), None, faults) == (whole(first=1), 0)
    assert not faults
    of_file(whole(first=1), 8, faults)
    assert blamed(faults) == {"model_version.max_batch_size"}


def test_a_declared_signature_must_be_the_files():
    def differences(declared):
        faults = Faults()
        compare(declared, FOUR, faults)
        return blamed(faults)

    assert not differences(FOUR)
    assert not differences(Signature((TensorSpec("X", "FP32", (-1,)),), FOUR.outputs))
    assert not differences(replace(FOUR, outputs=()))
    assert differences(Signature((TensorSpec("X", "FP64", (4,)),), FOUR.outputs)) == {
        "model_version.signature.inputs[0]"
    }
    assert differences(Signature((TensorSpec("X", "FP32", (5,)),), FOUR.outputs)) == {
        "model_version.signature.inputs[0]"
    }
    assert differences(Signature((TensorSpec("Z", "FP32", (4,)),), FOUR.outputs)) == {
        "model_version.signature.inputs[0]",
        "model_version.signature.inputs",
    }
    assert differences(replace(FOUR, outputs=(TensorSpec("Z", "FP32", (4,)),))) == {
        "model_version.signature.outputs[0]"
    }


def test_a_name_stands_once():
    faults = Faults()
    check(Signature(FOUR.inputs * 2, FOUR.outputs), faults)
    assert blamed(faults) == {"model_version.signature.inputs"}
