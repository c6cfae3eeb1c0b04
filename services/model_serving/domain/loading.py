"""Getting versions onto a server: as files that it can see, as bytes in the call, or out of its own repository."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from services.model_serving.domain.configuration import Backend, Incompatible, configuration, files
from services.model_serving.domain.deployment import Server
from services.model_serving.domain.model import ModelVersion
from services.model_serving.domain.reconcile import Seen
from services.model_serving.domain.signature import Signature

# gRPC's own bound on a message, less what the configuration and names may take
MOST_BYTES = 2**31 - 2**20


class Refused(Exception):
    """The server, or what it was to be given, says no; the message is for people."""


OUR_NAME = "penstock"
"""What the slow door calls itself to those who ask a server for its name. Tritons are called `triton`."""


class Ourselves(Exception):
    """What answers is Penstock: its own mesh is no server of it."""


class Unreachable(Exception):
    """The server did not answer."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone
        """Its host says that nothing listens there: the process has ended, and with it all that it had loaded. Else
        nobody knows: it may be busy, or the network between us broken."""


class Triton(Protocol):
    """A server's control calls. Each raises Unreachable; those that change something raise Refused."""

    async def observe(self, owners_of: Sequence[str]) -> Seen:
        """What is there now: never of a process that has ended. Only here is Unreachable ever `gone`."""
        ...

    async def version(self) -> str:
        """Raises Ourselves."""
        ...

    async def lost(self) -> None:
        """Returns when a connection to the server has broken: a server that restarts may be back, and empty, sooner
        than it is asked again. Never raises."""
        ...

    async def load(self, model: str, configuration: str, contents: Mapping[str, bytes]) -> None: ...
    async def unload(self, model: str) -> None: ...
    async def ready(self, model: str, version: str) -> bool: ...
    async def describe(self, model: str, version: str) -> tuple[Signature, int]:
        """Signature and batch size of a version that is ready. Raises Refused."""
        ...


class Artifacts(Protocol):
    def size(self, digest: str) -> int:
        """Bytes. Raises LookupError."""
        ...

    def read(self, digest: str) -> bytes:
        """Raises LookupError."""
        ...


class Repository(Protocol):
    """Folders that servers read as their model repositories. Raise OSError, PermissionError for a foreign folder."""

    def place(self, root: str, model: str, contents: Mapping[str, bytes]) -> None: ...
    def prune(self, root: str, model: str, versions: Sequence[str]) -> None:
        """Remove what is there of other versions; with none, the model's folder. Only what `place` made."""
        ...


class Loader:
    def __init__(self, artifacts: Artifacts, repository: Repository, backend: Backend, owner: str) -> None:
        self._artifacts = artifacts
        self._repository = repository
        self._backend = backend
        self.owner = owner

    async def load(self, triton: Triton, server: Server, versions: Sequence[ModelVersion]) -> None:
        """Returns once the server says that it has every one of these versions of a model, and no other.

        Raises Refused (what the server had before stays) or Unreachable.
        """
        model = versions[0].model
        if versions[0].external:
            await triton.load(model, "", {})
        else:
            await self._load_files(triton, server, model, versions)
        for version in versions:
            if not await triton.ready(model, version.version):
                raise Refused(f"the load succeeded, but the server does not serve version {version.version}")

    async def unload(self, triton: Triton, server: Server, model: str, *, ours: bool) -> None:
        await triton.unload(model)
        if ours and server.repository_path:
            await self._in_folder(lambda: self._repository.prune(server.repository_path, model, ()))

    async def _load_files(self, triton: Triton, server: Server, model: str, versions: Sequence[ModelVersion]) -> None:
        try:
            said = configuration(versions, self._backend, self.owner)
        except Incompatible as difference:
            raise Refused(str(difference)) from difference
        contents = await asyncio.to_thread(self._contents, versions, travelling=not server.repository_path)
        if not server.repository_path:
            await triton.load(model, said, contents)
            return
        await self._in_folder(lambda: self._repository.place(server.repository_path, model, contents))
        await triton.load(model, said, {})
        left = [version.version for version in versions]
        await self._in_folder(lambda: self._repository.prune(server.repository_path, model, left))

    def _contents(self, versions: Sequence[ModelVersion], *, travelling: bool) -> dict[str, bytes]:
        try:
            size = sum(self._artifacts.size(version.digest) for version in versions)
            if travelling and size > MOST_BYTES:
                raise Refused(
                    f"{size} bytes, with the model's other versions, are more than one call can carry: give the server"
                    " a repository_path"
                )
            digests = {version.digest for version in versions}
            return files(versions, {digest: self._artifacts.read(digest) for digest in digests}, self._backend)
        except LookupError as missing:
            raise Refused(f"an uploaded file is gone: {missing}") from missing

    async def _in_folder(self, work: "FolderWork") -> None:
        try:
            await asyncio.to_thread(work)
        except OSError as error:
            raise Refused(f"the server's repository folder cannot be written: {error}") from error


class FolderWork(Protocol):
    def __call__(self) -> None: ...
