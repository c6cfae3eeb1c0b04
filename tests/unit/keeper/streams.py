"""What Envoy and routing say to each other, of any type."""

from envoy.service.discovery.v3 import discovery_pb2

from deploy.envoy.keeper.shelf import Kept

ONE, TWO = "type.googleapis.com/a.One", "type.googleapis.com/a.Two"


def resource(name, version="1"):
    body = {"type_url": ONE, "value": f"{name} {version}".encode()}
    return discovery_pb2.Resource(name=name, version=version, resource=body)


def kept(name, version="1"):
    return Kept(name, version, resource(name, version).SerializeToString())


def asks(*names, url=ONE, **had):
    return discovery_pb2.DeltaDiscoveryRequest(
        type_url=url, resource_names_subscribe=names, initial_resource_versions=had
    )


def accepts(nonce, url=ONE):
    return discovery_pb2.DeltaDiscoveryRequest(type_url=url, response_nonce=nonce)


def refuses(nonce, url=ONE):
    return discovery_pb2.DeltaDiscoveryRequest(type_url=url, response_nonce=nonce, error_detail={"message": "no"})


def response(nonce, *resources, removed=(), url=ONE):
    return discovery_pb2.DeltaDiscoveryResponse(
        type_url=url, nonce=nonce, resources=resources, removed_resources=removed
    )
