from __future__ import annotations

import pytest

from tests.unit.envoy_filter import native


@pytest.fixture(scope="session")
def filters(tmp_path_factory: pytest.TempPathFactory) -> native.Filters:
    return native.compiled(tmp_path_factory.mktemp("filters"))
