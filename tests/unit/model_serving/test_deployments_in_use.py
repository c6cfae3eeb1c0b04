"""A version that somebody is led to stays where it is."""

import pytest

from libs.errors import Precondition, Unavailable
from services.model_serving.domain.usage import require_unused


class Owner:
    def __init__(self, *found, error=None):
        self.found, self.error = found, error

    async def uses(self, model, version):
        if self.error:
            raise self.error
        return self.found


async def test_a_version_that_nobody_names_may_go():
    await require_unused([Owner(), Owner()], "m", "1")


async def test_every_use_is_told():
    with pytest.raises(Precondition) as raised:
        await require_unused([Owner("the default version of its route"), Owner("variant 'b' of 'x'")], "m", "1")
    assert raised.value.reason == "DEPLOYMENT_IN_USE"
    assert "the default version of its route and variant 'b' of 'x'" in raised.value.message


async def test_silence_is_no_leave():
    with pytest.raises(Unavailable) as raised:
        await require_unused([Owner(), Owner(error=Unavailable("SERVICE_UNAVAILABLE", "away"))], "m", "1")
    assert "force" in raised.value.message
