"""The first key of all goes into a file that only its owner may read, or is not made."""

import asyncio
import logging
import secrets

import pytest

from libs.clock import SystemClock
from libs.config import ConfigError
from services.routing import config
from services.routing.domain.keys import KEY, key_hash
from services.routing.stores import admin_key
from services.routing.stores.admin_key import ensure_a_key
from tests.contract.access_in_memory import KeysInMemory
from tests.polling import eventually_async


def ensure(keys, folder):
    return ensure_a_key(keys, folder, secrets.token_bytes, SystemClock())


async def test_the_first_start_makes_an_admin(tmp_path, caplog):
    keys, folder = KeysInMemory(), tmp_path / "not there yet"
    with caplog.at_level(logging.WARNING):
        await ensure(keys, folder)
    (stored,) = await keys.list("", "", 10)
    text = (folder / "admin.key").read_text().strip()
    assert (stored.key.tenant, stored.key.principal, stored.key.roles) == ("local", "admin", ("admin",))
    assert (KEY.fullmatch(text).group(1), key_hash(text)) == (stored.key.id, stored.key.sha256)
    assert (folder / "admin.key").stat().st_mode & 0o777 == 0o600
    assert text not in caplog.text


async def test_a_later_start_makes_none_and_leaves_the_file(tmp_path):
    keys = KeysInMemory()
    await ensure(keys, tmp_path / "one")
    text = (tmp_path / "one" / "admin.key").read_text()
    await ensure(keys, tmp_path / "one")
    await ensure(keys, tmp_path / "another replica's")
    assert len(await keys.list("", "", 10)) == 1
    assert (tmp_path / "one" / "admin.key").read_text() == text
    assert not (tmp_path / "another replica's").exists()


async def test_a_file_that_others_could_read_is_not_written_into(tmp_path):
    (tmp_path / "admin.new").touch(mode=0o666)
    (tmp_path / "admin.key").touch(mode=0o666)
    await ensure(KeysInMemory(), tmp_path)
    assert (tmp_path / "admin.key").stat().st_mode & 0o777 == 0o600


async def test_a_key_that_cannot_be_written_is_not_stored_and_is_tried_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(admin_key, "AGAIN_WRITING_SECONDS", 0)
    keys, folder = KeysInMemory(), tmp_path / "routing"
    folder.write_text("a file where the folder should be")
    with caplog.at_level(logging.ERROR):
        trying = asyncio.create_task(ensure(keys, folder))
        await eventually_async(lambda: caplog.records)
        assert await keys.list("", "", 10) == []
        folder.unlink()
        await trying
    assert "cannot be kept" in caplog.text
    assert len(await keys.list("", "", 10)) == 1


def test_authentication_is_on_or_off():
    given = {
        "PENSTOCK_POSTGRES_DSN": "postgresql:///penstock",
        "PENSTOCK_MESH_ADDRESS": "localhost:10001",
        "PENSTOCK_STATE_DIR": "state",
    }
    assert config.read(given).auth
    assert config.read({**given, "PENSTOCK_AUTH": "on"}).auth
    assert not config.read({**given, "PENSTOCK_AUTH": "off"}).auth
    with pytest.raises(ConfigError, match="PENSTOCK_AUTH='yes' is neither on nor off"):
        config.read({**given, "PENSTOCK_AUTH": "yes"})
