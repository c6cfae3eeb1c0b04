"""Runs commands against grpcio-testing's channel: the test plays the service."""

import io
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc_testing
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from typer.main import get_command

from clients.cli.__main__ import app
from clients.cli.session import Session, plain
from penstock.cost_tracking.v1 import cost_tracking_service_pb2
from penstock.experimentation.v1 import experimentation_service_pb2
from penstock.health_monitoring.v1 import health_monitoring_service_pb2
from penstock.model_serving.v1 import deployment_service_pb2, model_registry_service_pb2, prediction_service_pb2
from penstock.routing.v1 import access_service_pb2, routing_service_pb2
from penstock_client import Penstock

SERVICES = {
    service.name: service
    for module in (
        cost_tracking_service_pb2,
        experimentation_service_pb2,
        health_monitoring_service_pb2,
        deployment_service_pb2,
        model_registry_service_pb2,
        prediction_service_pb2,
        access_service_pb2,
        routing_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
}


class Running:
    """A command that has been started; the test answers its calls in turn."""

    def __init__(self, channel, future, printed):
        self._channel, self._future, self._printed = channel, future, printed

    def answer(self, service, method, answer):
        """Answer the next call of the method; returns its request."""
        _, request, rpc = self._channel.take_unary_unary(SERVICES[service].methods_by_name[method])
        rpc.send_initial_metadata(())
        rpc.terminate(answer, (), grpc.StatusCode.OK, "")
        return request

    def answer_upload(self, service, method, answer):
        """Answer the next call of a method that takes a stream of one message; returns that."""
        _, rpc = self._channel.take_stream_unary(SERVICES[service].methods_by_name[method])
        rpc.requests_closed()
        request = rpc.take_request()
        rpc.send_initial_metadata(())
        rpc.terminate(answer, (), grpc.StatusCode.OK, "")
        return request

    def metadata(self, service, method, answer):
        metadata, _, rpc = self._channel.take_unary_unary(SERVICES[service].methods_by_name[method])
        rpc.send_initial_metadata(())
        rpc.terminate(answer, (), grpc.StatusCode.OK, "")
        return dict(metadata)

    def refuse(self, service, method, code, message, reason="", faults=()):
        """Answer as a Penstock service refuses."""
        called = SERVICES[service].methods_by_name[method]
        if called.client_streaming:
            _, rpc = self._channel.take_stream_unary(called)
        else:
            _, _, rpc = self._channel.take_unary_unary(called)
        status = Status(code=code.value[0], message=message)
        details = [ErrorInfo(reason=reason, domain="penstock")] if reason else []
        if faults:
            details.append(
                BadRequest(field_violations=[BadRequest.FieldViolation(field=f, description=d) for f, d in faults])
            )
        for detail in details:
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        rpc.send_initial_metadata(())
        rpc.terminate(None, (("grpc-status-details-bin", status.SerializeToString()),), code, message)

    def printed(self):
        """What it wrote, once it has ended well."""
        assert self._future.result(timeout=10) == 0
        return self._printed.getvalue()

    def so_far(self):
        """What it has written until now."""
        return self._printed.getvalue()

    def failed(self):
        with pytest.raises(SystemExit) as raised:
            self._future.result(timeout=10)
        return raised.value.code


@pytest.fixture
def penstock():
    """`penstock("route", "list")` starts a command."""
    with ThreadPoolExecutor(1) as thread:

        def start(*arguments, width=200):
            channel = grpc_testing.channel(SERVICES.values(), grpc_testing.strict_real_time())
            printed = io.StringIO()
            console = plain(file=printed, width=width)
            session = Session(lambda: Penstock.over(channel), console, address="ingress.example:1")

            def run():
                return get_command(app).main(list(arguments), "penstock", standalone_mode=False, obj=session) or 0

            return Running(channel, thread.submit(run), printed)

        yield start
