"""A route names versions that there are."""

import pytest

from libs.errors import NotFound, Unavailable
from services.routing.domain.existing import require_existing
from services.routing.domain.known import Deployed
from services.routing.domain.policy import Deployment, ModelVersion, Route


class Registry:
    """Has some versions; cannot be reached where it is asked for another than those."""

    def __init__(self, *versions, answers=True):
        self.versions, self.answers, self.asked = versions, answers, []

    async def has(self, target):
        self.asked.append(target.version)
        if not self.answers:
            raise Unavailable("SERVICE_UNAVAILABLE", "model_serving did not answer")
        return target.version in self.versions


def route(default, *fallbacks):
    return Route("m", default, tuple(ModelVersion("m", version) for version in fallbacks))


async def test_every_field_that_names_what_does_not_exist_is_told():
    with pytest.raises(NotFound) as raised:
        await require_existing(route("9", "1", "9", "8"), None, None, Registry("1"))
    assert raised.value.reason == "MODEL_VERSION_NOT_FOUND"
    assert [v.field for v in raised.value.violations] == [
        "route.default_version",
        "route.fallback_versions[1]",
        "route.fallback_versions[2]",
    ]


async def test_what_is_deployed_or_was_named_before_is_led_to_while_the_registry_is_down():
    down = Registry(answers=False)
    deployed = Deployed(deployments=(Deployment("m", "2", ()), Deployment("other", "3", ("a",))))
    await require_existing(route("2", "1"), route("1"), deployed, down)
    assert not down.asked
    with pytest.raises(Unavailable):
        await require_existing(route("3"), route("1"), deployed, down)
