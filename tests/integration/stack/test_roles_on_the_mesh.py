"""Every RPC of every service refuses whoever may not call it, and nobody else, whatever its shape."""

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from libs.identity import ROLES as HEADER
from libs.roles import ROLES, allowed_roles
from libs.statuses import reason_of
from services.routing.servers.public import SERVICES
from tests.roles import path, services

METHODS = [method for service in services() if service.full_name in SERVICES for method in service.methods]
READ = ("Get", "List", "Explain")


@pytest.fixture(scope="module")
def mesh(stack):
    with grpc.insecure_channel(f"127.0.0.1:{stack.ports['mesh']}") as channel:
        yield channel


def ask(channel, method, roles):
    """The code and reason that an empty request gets."""
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    make = getattr(channel, shape)
    request = GetMessageClass(method.input_type)
    call = make(path(method), request.SerializeToString, GetMessageClass(method.output_type).FromString)
    sent = iter([request()]) if method.client_streaming else request()
    try:
        answer = call(sent, timeout=10, metadata=[(HEADER, roles)])
        if method.server_streaming:
            list(answer)
    except grpc.RpcError as error:
        return error.code(), reason_of(error)
    return grpc.StatusCode.OK, ""


REFUSED = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")


@pytest.mark.parametrize("roles", [*ROLES, "somebody", ""])
def test_whoever_may_not_is_refused(mesh, roles):
    barred = [method for method in METHODS if roles not in allowed_roles(path(method))]
    assert barred or roles == "admin"
    answers = {path(method): ask(mesh, method, roles) for method in barred}
    assert {name: answer for name, answer in answers.items() if answer != REFUSED} == {}


@pytest.mark.parametrize("roles", ROLES)
def test_whoever_may_reads(mesh, roles):
    reads = [m for m in METHODS if m.name.startswith(READ) and roles in allowed_roles(path(m))]
    services_read = {method.containing_service.file.package for method in reads}
    assert len(services_read) == (5 if roles in ("caller", "approver", "urgent") else 6)
    answers = {path(method): ask(mesh, method, roles)[0] for method in reads}
    expected = {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
    assert {name: code for name, code in answers.items() if code not in expected} == {}


def test_what_whoever_may_writes_is_looked_at(mesh):
    for method in (method for method in METHODS if method.name.startswith("Create")):
        roles = next(role for role in ("billing", "engineer", "admin") if role in allowed_roles(path(method)))
        assert ask(mesh, method, roles) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), path(method)


def test_a_role_that_will_do_among_others(mesh):
    create = next(method for method in METHODS if method.name == "CreateRoute")
    assert ask(mesh, create, "caller") == REFUSED
    assert ask(mesh, create, "caller,engineer") != REFUSED
