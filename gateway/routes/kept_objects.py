"""What the routes of files and batches share: who asks, whose it is, and how it is answered."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson

from budgets.ledger import LedgerError
from gateway.auth import Principal
from gateway.batches.errors import object_not_found
from gateway.batches.kit import Kit
from gateway.errors import ApiError, answered_elsewhere, ledger_unavailable, registry_unavailable
from gateway.providers.port import RawHeaders, UpstreamError, UpstreamReply
from gateway.registries.objects import ObjectKind, OwnedObject, may_be_an_id
from gateway.registries.port import RegistryError
from gateway.response import (
    ClientGone,
    Receive,
    Scope,
    Send,
    relayed_headers,
    send_error,
    send_whole,
)
from gateway.tally import LedgerOutcome
from gateway.upstream_errors import upstream_failed

JSON = (b"content-type", b"application/json")
T = TypeVar("T")
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


class KeptObjects:
    """The ground of both routes. Without a kit another process answers."""

    def __init__(self, kit: Kit | None) -> None:
        self._kit = kit

    @property
    def kit(self) -> Kit:
        """Raise ApiError (404) in a process that answers no requests."""
        if self._kit is None:
            raise answered_elsewhere()
        return self._kit

    def caller(self, scope: Scope) -> Principal:
        """Who asks; raise ApiError (401)."""
        desk = self.kit.desk
        principal = desk.authenticate(scope["headers"])
        if principal is None:
            raise desk.denial(scope["headers"])
        return principal

    async def owned(self, principal: Principal, kind: ObjectKind, object_id: str) -> OwnedObject:
        """An object of the caller's team; raise ApiError (404) for any other."""
        found = None
        if may_be_an_id(object_id):
            found = await self.kit.objects.find(kind, object_id)
        if found is None or found.owner != principal.team:
            raise object_not_found(kind, object_id)
        return found

    async def answered(self, work: Awaitable[None], send: Send) -> None:
        """Do it; every failure becomes one error in OpenAI's words."""
        try:
            await work
        except ApiError as error:
            await self._fail(send, error)
        except ClientGone:
            return
        except LedgerError as error:
            self.kit.desk.watch.failed(LedgerOutcome.DENIED, error)
            await self._fail(send, ledger_unavailable())
        except RegistryError:
            await self._fail(send, registry_unavailable())

    async def _fail(self, send: Send, error: ApiError) -> None:
        if self._kit is not None:
            self._kit.desk.tally.refused(error.code)
        await send_error(send, error)


def last_part(scope: Scope, before: str, after: str = "") -> str:
    """The id in a path."""
    return str(scope["path"]).removeprefix(f"{before}/").removesuffix(after)


async def asked(work: Awaitable[T], provider: str) -> T:
    """What a provider answers, head or body; raise ApiError (502 to 504) where it did not come."""
    try:
        return await work
    except UpstreamError as error:
        raise upstream_failed(error, provider) from error


async def send_told(send: Send, reply: UpstreamReply, body: bytes, own: RawHeaders = ()) -> None:
    """A provider's answer as it came, with our own headers."""
    await send_whole(send, reply.status, relayed_headers(reply.headers, own), body)


async def send_json(send: Send, body: bytes | dict[str, object]) -> None:
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    await send_whole(send, 200, [JSON], text)
