"""Folders that servers read as their model repositories: `<root>/<model>/<version>/<file>`.

A marker says which model folders are ours; others are never touched.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

MARKER = ".penstock"
STAGING = ".staging-"


class RepositoryFolders:
    def place(self, root: str, model: str, contents: Mapping[str, bytes]) -> None:
        """Write `<version>/<file>` for each entry. A version appears whole, and one that is there stays untouched:
        the server would take a new date for a new file and load it again. Raises OSError."""
        folder = Path(root) / model
        if folder.exists() and not (folder / MARKER).exists():
            raise PermissionError(f"{folder} holds a model that Penstock did not put there")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).touch()
        by_version: dict[str, dict[str, bytes]] = {}
        for path, content in contents.items():
            version, _, name = path.partition("/")
            by_version.setdefault(version, {})[name] = content
        for version, its in by_version.items():
            if not _holds(folder / version, its):
                _write(folder, version, its)

    def prune(self, root: str, model: str, versions: Sequence[str]) -> None:
        """Remove the folders of other versions; without any, the model's own. Raises OSError."""
        folder = Path(root) / model
        if not (folder / MARKER).exists():
            return
        for entry in folder.iterdir():
            if entry.is_dir() and entry.name not in versions:
                shutil.rmtree(entry)
        if not versions:
            shutil.rmtree(folder)


def _holds(folder: Path, its: Mapping[str, bytes]) -> bool:
    return folder.is_dir() and all(
        (folder / name).is_file() and (folder / name).read_bytes() == content for name, content in its.items()
    )


def _write(folder: Path, version: str, its: Mapping[str, bytes]) -> None:
    staging = folder / f"{STAGING}{version}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    for name, content in its.items():
        (staging / name).write_bytes(content)
    shutil.rmtree(folder / version, ignore_errors=True)
    staging.rename(folder / version)
