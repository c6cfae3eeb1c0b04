from __future__ import annotations

import socket
import struct
import threading

import pytest

from deploy.local.ports import DEFAULTS, BadPort, PortInUse, Ports


def test_defaults_are_those_of_the_design() -> None:
    ports = Ports.from_environment({})
    assert (ports["ingress"], ports["mesh"], ports["envoy_admin"]) == (10000, 10001, 9901)
    assert (ports["routing"], ports["health_monitoring"], ports["health_monitoring_metrics"]) == (50051, 50056, 51056)
    assert (ports["triton_a_grpc"], ports["triton_b_metrics"], ports["redis"]) == (8001, 8012, 16379)


def test_an_offset_moves_all_but_those_set_singly() -> None:
    ports = Ports.from_environment({"PENSTOCK_PORT_OFFSET": "100", "PENSTOCK_PORT_REDIS": "7000"})
    assert ports["redis"] == 7000
    assert all(ports[name] == port + 100 for name, port in DEFAULTS.items() if name != "redis")


def test_every_fault_is_reported_at_once() -> None:
    environment = {
        "PENSTOCK_PORT_REDIS": "many",
        "PENSTOCK_PORT_MESH": "70000",
        "PENSTOCK_PORT_INGRESS": "9901",
    }
    with pytest.raises(BadPort) as caught:
        Ports.from_environment(environment)
    assert "PENSTOCK_PORT_REDIS: 'many' is not a number" in str(caught.value)
    assert "PENSTOCK_PORT_MESH: 70000 is not a port" in str(caught.value)
    assert "PENSTOCK_PORT_ENVOY_ADMIN and PENSTOCK_PORT_INGRESS are both 9901" in str(caught.value)


def test_the_environment_carries_the_same_ports() -> None:
    ports = Ports.free()
    assert Ports.from_environment(ports.environment()) == ports


def test_every_port_in_use_is_named_with_who_wants_it() -> None:
    ports = Ports.free()
    with socket.create_server(("127.0.0.1", ports["mesh"])), socket.create_server(("127.0.0.1", ports["redis"])):
        with pytest.raises(PortInUse) as caught:
            ports.reserve([("envoy", "mesh"), ("envoy", "ingress"), ("redis", "redis")])
        lines = str(caught.value).splitlines()
    assert [line.split(",")[1].strip() for line in lines] == ["which envoy wants", "which redis wants"]
    for reserved in ports.reserve([("envoy", "mesh"), ("redis", "redis")]):
        reserved.close()


def test_a_reserved_port_is_left_to_servers_and_denied_to_outgoing_connections() -> None:
    ports = Ports.free()
    (reserved,) = ports.reserve([("redis", "redis")])
    with reserved, socket.create_server(("127.0.0.1", ports["redis"])) as server, socket.socket() as client:
        with pytest.raises(OSError, match="in use"):
            client.bind(("127.0.0.1", ports["redis"]))
        client.connect(server.getsockname())


def test_an_outgoing_connection_is_waited_for() -> None:
    ports = Ports.free()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", ports["redis"]))
        client.connect(server.getsockname())
        with pytest.raises(PortInUse, match="which redis wants"):
            ports.reserve([("redis", "redis")], patience=0)
        # closed with a reset, the connection blocks its port no longer
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        closing = threading.Timer(0.3, client.close)
        closing.start()
        for reserved in ports.reserve([("redis", "redis")]):
            reserved.close()
        closing.join()
