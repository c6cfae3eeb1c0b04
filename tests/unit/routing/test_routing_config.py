"""What routing reads of the origins whose pages may call."""

import pytest

from libs.config import ConfigError
from services.routing.config import read

NEEDED = {
    "PENSTOCK_POSTGRES_DSN": "postgresql://",
    "PENSTOCK_MESH_ADDRESS": "127.0.0.1:10001",
    "PENSTOCK_STATE_DIR": "state",
}


def origins(said):
    return read({**NEEDED, "PENSTOCK_ALLOWED_ORIGINS": said}).origins


def test_none_unless_one_is_named():
    assert read(NEEDED).origins == ()
    assert origins("") == ()


def test_as_browsers_write_them():
    said = "https://App.example, http://localhost:3000,https://[::1]:8443,,https://app.example"
    assert origins(said) == ("http://localhost:3000", "https://[::1]:8443", "https://app.example")
    assert origins("*") == ("*",)


@pytest.mark.parametrize(
    "wrong", ["app.example", "https://app.example/", "https://*.example", "ftp://a", "https://a b"]
)
def test_what_no_browser_says(wrong):
    with pytest.raises(ConfigError, match="PENSTOCK_ALLOWED_ORIGINS"):
        origins(f"https://app.example,{wrong}")
