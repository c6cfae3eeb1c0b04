"""Who can reach which of Envoy's listeners: clients the ingress, and nobody beyond this machine anything else."""

import re

import yaml

from deploy.local import envoy

BOOTSTRAP = yaml.safe_load(re.sub(r"\$\{(\w+)\}", r"\1", envoy.TEMPLATE.read_text()))


def test_only_the_ingress_may_be_reached_from_elsewhere():
    listeners = {each["name"]: each for each in BOOTSTRAP["static_resources"]["listeners"]}
    listening = {
        name: each["address"]["socket_address"]["address"] for name, each in listeners.items() if "address" in each
    }
    assert listening.pop("ingress") == "PENSTOCK_INGRESS_ADDRESS"
    assert set(listening.values()) == {"127.0.0.1"}
    assert all("internal_listener" in each for name, each in listeners.items() if name not in {"ingress", *listening})


def test_the_admin_port_is_on_loopback_whatever_is_set():
    assert BOOTSTRAP["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
