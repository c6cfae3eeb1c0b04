"""The stores of model_serving without Postgres: what they must do, in the fewest words."""

from dataclasses import replace

from libs.errors import AlreadyExists, Conflict, NotFound, Precondition
from services.model_serving.domain.catalogue import Deployed
from services.model_serving.domain.deployment import Deployment, Placement, PlacementState, Server, Wanted


class ModelServingInMemory:
    """Models, versions, servers and deployments, all in one."""

    def __init__(self):
        self._models = {}
        self._versions = {}
        self._servers = {}
        self._deployments = {}
        self._placements = {}
        self._leading = False

    async def registry_id(self):
        return "the-only-one"

    async def create_model(self, model):
        if model.name in self._models:
            raise AlreadyExists("MODEL_EXISTS", model.name)
        self._models[model.name] = replace(model, etag="1")
        return self._models[model.name]

    async def get_model(self, name):
        return _found(self._models, name, "MODEL_NOT_FOUND")

    async def list_models(self, page):
        after = page.after[0] if page.after else ""
        rows = [self._models[name] for name in sorted(self._models) if name > after]
        return page.split(rows[: page.lookahead], lambda model: (model.name,))

    async def create_version(self, version):
        await self.get_model(version.model)
        key = version.model, version.version
        if key in self._versions:
            raise AlreadyExists("MODEL_VERSION_EXISTS", str(key))
        self._versions[key] = replace(version, etag="1")
        return self._versions[key]

    async def get_version(self, model, version):
        return _found(self._versions, (model, version), "MODEL_VERSION_NOT_FOUND")

    async def list_versions(self, model, page):
        await self.get_model(model)
        after = int(page.after[0]) if page.after else 0
        rows = [v for v in self._versions.values() if v.model == model and v.number > after]
        rows.sort(key=lambda v: v.number)
        return page.split(rows[: page.lookahead], lambda v: (v.version,))

    async def set_stage(self, model, version, stage, etag):
        current = await self.get_version(model, version)
        if etag not in ("", current.etag):
            raise Conflict("ETAG_MISMATCH", current.etag)
        return self._write(replace(current, stage=stage))

    async def learn(self, model, version, signature, max_batch_size):
        current = await self.get_version(model, version)
        size = max_batch_size if current.max_batch_size is None else current.max_batch_size
        learned = replace(current, signature=current.signature or signature, max_batch_size=size)
        if learned != current:
            self._write(learned)

    def _write(self, version):
        written = replace(version, etag=str(int(version.etag) + 1))
        self._versions[version.model, version.version] = written
        return written

    async def create_server(self, server):
        same = [s for s in self._servers.values() if server.name == s.name or server.address == s.address]
        if same:
            raise AlreadyExists("SERVER_EXISTS", same[0].name)
        self._servers[server.name] = server
        return server

    async def seed(self, addresses, metrics):
        for name, address in addresses.items():
            known = self._servers.get(name)
            taken = next((s for s in self._servers.values() if s.address == address and s.name != name), None)
            if taken:
                self._servers[taken.name] = replace(taken, address=f"{taken.name} moved")
            self._servers[name] = replace(
                known or Server(name, ""), address=address, metrics_address=metrics.get(name, "")
            )

    async def servers(self):
        return [self._servers[name] for name in sorted(self._servers)]

    async def list_servers(self, page):
        after = page.after[0] if page.after else ""
        rows = [server for server in await self.servers() if server.name > after]
        return page.split(rows[: page.lookahead], lambda server: (server.name,))

    async def delete_server(self, name):
        server = _found(self._servers, name, "SERVER_NOT_FOUND")
        its = {key: p for key, p in self._placements.items() if p.server == name}
        if server.reachable and any(p.state is not PlacementState.UNLOADING for p in its.values()):
            raise Precondition("SERVER_IN_USE", name)
        for key in its:
            del self._placements[key]
        self._drop_empty()
        del self._servers[name]

    async def observe_server(self, server, *, reachable, version):
        known = self._servers[server]
        self._servers[server] = replace(known, reachable=reachable, version=version or known.version)

    async def lead(self, work):
        if self._leading:
            return False
        self._leading = True
        try:
            await work()
        finally:
            self._leading = False
        return True

    async def create_deployment(self, model, version, servers, now):
        await self.get_version(model, version)
        if not self._servers or set(servers) - set(self._servers):
            raise NotFound("SERVER_NOT_FOUND", str(servers))
        if (model, version) in self._deployments:
            deleting, _ = self._deployments[model, version]
            message = "still being taken off" if deleting else "deployed already"
            raise AlreadyExists("DEPLOYMENT_EXISTS", message)
        self._deployments[model, version] = (False, now)
        for server in servers or self._servers:
            address = self._servers[server].address
            self._placements[model, version, server] = Placement(server, address, PlacementState.PENDING, now)
        return await self.get_deployment(model, version)

    async def get_deployment(self, model, version):
        deleting, created = _found(self._deployments, (model, version), "DEPLOYMENT_NOT_FOUND")
        keys = sorted(key for key in self._placements if key[:2] == (model, version))
        return Deployment(model, version, deleting, created, tuple(self._placements[key] for key in keys))

    async def list_deployments(self, model, page):
        after = (page.after[0], int(page.after[1])) if page.after else ("", 0)
        keys = sorted((m, int(v)) for m, v in self._deployments if model in ("", m) and (m, int(v)) > after)
        rows = [await self.get_deployment(m, str(v)) for m, v in keys[: page.lookahead]]
        return page.split(rows, lambda d: (d.model, d.version))

    async def delete_deployment(self, model, version, now):
        _, created = _found(self._deployments, (model, version), "DEPLOYMENT_NOT_FOUND")
        self._deployments[model, version] = (True, created)
        for key, placement in self._placements.items():
            if key[:2] == (model, version) and placement.state is not PlacementState.UNLOADING:
                self._placements[key] = placement.enter(PlacementState.UNLOADING, now)
        return await self.get_deployment(model, version)

    async def deployed(self):
        keys = sorted((m, int(v)) for m, v in self._deployments)
        deployments = [await self.get_deployment(m, str(v)) for m, v in keys]
        versions = [self._versions[m, str(v)] for m, v in keys]
        return Deployed(tuple(deployments), tuple(versions), tuple(await self.servers()))

    async def wanted(self, server):
        its = {key: p for key, p in self._placements.items() if p.server == server}
        keys = sorted(its, key=lambda key: (key[0], int(key[1])))
        return [Wanted(self._versions[key[:2]], its[key]) for key in keys]

    async def move(self, changes):
        return [change for change in changes if self._moved(change)]

    def _moved(self, change):
        key = *change.key, change.before.server
        now = self._placements.get(key)
        before = change.before
        if now is None or (now.state, now.update_time) != (before.state, before.update_time):
            return False
        if change.unless_last and not any(
            p.state is PlacementState.READY
            for other, p in self._placements.items()
            if other[:2] == change.key and other != key
        ):
            return False
        if change.after is None:
            del self._placements[key]
            self._drop_empty()
        else:
            self._placements[key] = change.after
        return True

    def _drop_empty(self):
        used = {key[:2] for key in self._placements}
        for key in list(self._deployments):
            if key not in used:
                del self._deployments[key]


def _found(rows, key, reason):
    if key not in rows:
        raise NotFound(reason, str(key))
    return rows[key]
