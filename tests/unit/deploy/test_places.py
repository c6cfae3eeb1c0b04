from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.local import places as module
from deploy.local.places import SOCKET_PATH_LIMIT, Places, UnusableDirectory
from deploy.local.postgres import SOCKET_NAME, Postgres


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    return tmp_path / "a name with spaces" / ("deep" * 20) / "flights (copy)" / ".penstock"


def test_the_short_directory_is_named_after_the_checkout_and_leads_home(deep: Path) -> None:
    places = Places.of(deep)
    assert places.run.name.startswith("flights-copy-")
    assert " " not in str(places.run)
    assert (deep / "run").resolve() == places.run
    assert places.short_home.resolve() == deep.resolve()
    assert len(str(Postgres.of(places).socket / SOCKET_NAME)) <= SOCKET_PATH_LIMIT
    shutil.rmtree(places.run)


def test_two_checkouts_of_one_name_do_not_meet(tmp_path: Path) -> None:
    one, other = Places.of(tmp_path / "1" / "penstock"), Places.of(tmp_path / "2" / "penstock")
    assert one.run != other.run
    shutil.rmtree(one.run)
    shutil.rmtree(other.run)


def test_nothing_is_left_of_a_home_that_was_removed(tmp_path: Path) -> None:
    home = tmp_path / ".penstock"
    database = Places.of(home).run / "postgres-data"
    database.mkdir()
    assert (Places.of(home).run / "postgres-data").exists()
    shutil.rmtree(home)
    assert not (Places.of(home).run / "postgres-data").exists()


def test_another_temporary_directory_does_not_split_a_stack(
    deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Places.of(deep)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert Places.of(deep) == first
    shutil.rmtree(first.run)
    assert Places.of(deep).run.exists()
    shutil.rmtree(Places.of(deep).run)


def test_a_copied_checkout_gets_a_directory_of_its_own(deep: Path, tmp_path: Path) -> None:
    original = Places.of(deep)
    shutil.copytree(deep, tmp_path / "copy", symlinks=True)
    copy = Places.of(tmp_path / "copy")
    assert copy.run != original.run
    shutil.rmtree(original.run)
    shutil.rmtree(copy.run)


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root looks only at directories that everybody can walk to, which pytest's are not
    monkeypatch.setattr(module, "open_to_all", lambda folder: True)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(module, "LONGEST_BASE", 400)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    theirs = tmp_path / f"penstock-{module.os.geteuid()}"
    theirs.mkdir()
    theirs.chmod(0o777)
    with pytest.raises(UnusableDirectory, match="not only yours"):
        Places.of(tmp_path / "home")
