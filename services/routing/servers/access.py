"""AccessService: who may call, and how often."""

from collections.abc import Callable
from typing import Any

from libs.clock import Clock
from libs.errors import collecting
from libs.idempotency import once
from libs.identity import caller
from libs.paging import page
from libs.postgres import Database
from penstock.routing.v1 import access_service_pb2 as pb
from penstock.routing.v1.access_service_pb2_grpc import AccessServiceServicer
from services.routing.domain.keys import (
    KeyStore,
    StoredKey,
    check_holder,
    check_key_id,
    check_tenant,
    make_key,
)
from services.routing.domain.limits import LimitStore, check_limit, check_limit_name
from services.routing.domain.policy import ApiKey, RateLimit
from services.routing.servers import access_messages as messages


class AccessServicer(AccessServiceServicer):
    """Decodes, asks the stores, encodes. `random` gives as many unpredictable bytes as it is asked for."""

    def __init__(
        self,
        *,
        database: Database,
        keys: KeyStore,
        limits: LimitStore,
        random: Callable[[int], bytes],
        clock: Clock,
    ) -> None:
        self._database = database
        self._keys = keys
        self._limits = limits
        self._random = random
        self._clock = clock

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        said = request.api_key
        with collecting() as faults:
            check_holder(said.tenant, said.principal, said.roles, said.description, faults)
        made = make_key(self._random)

        async def perform() -> pb.CreateApiKeyResponse:
            key = ApiKey(made.id, made.sha256, said.tenant, said.principal, tuple(sorted(said.roles)))
            stored = StoredKey(key, said.description, caller().principal, self._clock.now())
            await self._keys.create(stored)
            return pb.CreateApiKeyResponse(api_key=messages.encode_key(stored))

        answer = await once(self._database, request, pb.CreateApiKeyResponse, perform)
        if answer.api_key.id == made.id:
            answer.key = made.text  # only now: what `once` is given it keeps
        return answer

    async def GetApiKey(self, request: pb.GetApiKeyRequest, context: Any) -> pb.GetApiKeyResponse:
        with collecting() as faults:
            check_key_id(request.id, "id", faults)
        return pb.GetApiKeyResponse(api_key=messages.encode_key(await self._keys.get(request.id)))

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Any) -> pb.ListApiKeysResponse:
        _check_filter(request.tenant)
        asked = page(request.page_size, request.page_token)
        found = await self._keys.list(request.tenant, "".join(asked.after), asked.lookahead)
        kept, token = asked.split(found, lambda stored: (stored.key.id,))
        return pb.ListApiKeysResponse(api_keys=[messages.encode_key(stored) for stored in kept], next_page_token=token)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Any) -> pb.RevokeApiKeyResponse:
        with collecting() as faults:
            check_key_id(request.id, "id", faults)

        async def perform() -> pb.RevokeApiKeyResponse:
            stored = await self._keys.revoke(request.id, caller().principal, self._clock.now())
            return pb.RevokeApiKeyResponse(api_key=messages.encode_key(stored))

        return await once(self._database, request, pb.RevokeApiKeyResponse, perform)

    async def CreateRateLimit(self, request: pb.CreateRateLimitRequest, context: Any) -> pb.CreateRateLimitResponse:
        with collecting() as faults:
            limit = messages.decode_limit(request.rate_limit, faults)
            check_limit(limit, faults)

        async def perform() -> pb.CreateRateLimitResponse:
            stored = await self._limits.create(limit, self._clock.now())
            return pb.CreateRateLimitResponse(rate_limit=messages.encode_limit(stored))

        return await once(self._database, request, pb.CreateRateLimitResponse, perform)

    async def GetRateLimit(self, request: pb.GetRateLimitRequest, context: Any) -> pb.GetRateLimitResponse:
        with collecting() as faults:
            check_limit_name(request.name, "name", faults)
        return pb.GetRateLimitResponse(rate_limit=messages.encode_limit(await self._limits.get(request.name)))

    async def ListRateLimits(self, request: pb.ListRateLimitsRequest, context: Any) -> pb.ListRateLimitsResponse:
        _check_filter(request.tenant)
        asked = page(request.page_size, request.page_token)
        found = await self._limits.list(request.tenant, "".join(asked.after), asked.lookahead)
        kept, token = asked.split(found, lambda stored: (stored.limit.name,))
        limits = [messages.encode_limit(stored) for stored in kept]
        return pb.ListRateLimitsResponse(rate_limits=limits, next_page_token=token)

    async def UpdateRateLimit(self, request: pb.UpdateRateLimitRequest, context: Any) -> pb.UpdateRateLimitResponse:
        said = request.rate_limit
        with collecting() as faults:
            check_limit_name(said.name, "rate_limit.name", faults)

        def change(current: RateLimit) -> RateLimit:
            with collecting() as faults:
                limit = messages.merge_limit(current, said, request.update_mask, faults)
                check_limit(limit, faults)
            return limit

        async def perform() -> pb.UpdateRateLimitResponse:
            stored = await self._limits.change(said.name, said.etag, self._clock.now(), change)
            return pb.UpdateRateLimitResponse(rate_limit=messages.encode_limit(stored))

        return await once(self._database, request, pb.UpdateRateLimitResponse, perform)

    async def DeleteRateLimit(self, request: pb.DeleteRateLimitRequest, context: Any) -> pb.DeleteRateLimitResponse:
        with collecting() as faults:
            check_limit_name(request.name, "name", faults)

        async def perform() -> pb.DeleteRateLimitResponse:
            await self._limits.delete(request.name, request.etag)
            return pb.DeleteRateLimitResponse()

        return await once(self._database, request, pb.DeleteRateLimitResponse, perform)


def _check_filter(tenant: str) -> None:
    with collecting() as faults:
        if tenant:
            check_tenant(tenant, "tenant", faults)
