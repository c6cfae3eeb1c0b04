"""Who may ask for whose spend."""

from contextvars import copy_context

import pytest

from libs import identity
from libs.errors import Denied
from penstock.cost_tracking.v1.cost_tracking_service_pb2 import GetSpendRequest
from services.cost_tracking.servers.spend import decode


def payer(asked, roles, tenant="acme"):
    """Whose spend is summed; empty means everybody's."""

    def ask():
        identity.enter({identity.TENANT: tenant, identity.ROLES: roles})
        return decode(GetSpendRequest(tenant=asked)).tenant

    return copy_context().run(ask)


@pytest.mark.parametrize("roles", ["billing", "admin", "engineer,billing"])
def test_who_bills_sees_everybody(roles):
    assert payer("", roles) == ""
    assert payer("other", roles) == "other"


def test_an_engineer_sees_their_own():
    assert payer("", "engineer") == "acme"
    assert payer("acme", "engineer") == "acme"
    with pytest.raises(Denied) as told:
        payer("other", "engineer")
    assert (told.value.reason, told.value.metadata["roles"]) == ("ROLE_REQUIRED", "billing,admin")
