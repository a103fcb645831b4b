"""What files and batches need beside the desk of live requests, and how providers are asked."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from gateway.config_batches import BatchesSection
from gateway.desk import Desk
from gateway.providers.config import BATCHES
from gateway.providers.port import (
    RawHeaders,
    UpstreamCall,
    UpstreamError,
    UpstreamFault,
    UpstreamReply,
)
from gateway.registries.objects import ObjectStore
from gateway.spending import PASSED_HEADERS

MAX_ANSWER_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kit:
    """Built once by gateway/batch_work.py. `offers` is what each provider takes by itself.

    A file that is read whole takes one of the `places`; the others wait unread.
    """

    desk: Desk
    objects: ObjectStore
    section: BatchesSection
    offers: Mapping[str, frozenset[str]]
    places: asyncio.Semaphore

    @property
    def keepers(self) -> tuple[str, ...]:
        """The providers that keep files and work batches off."""
        return tuple([name for name, offered in self.offers.items() if BATCHES in offered])

    async def ask(
        self,
        provider: str,
        method: bytes,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> UpstreamReply:
        """Send one call and wait for the response's head; raise UpstreamError."""
        desk = self.desk
        keeper = desk.providers.get(provider)
        if keeper is None:
            raise UpstreamError(UpstreamFault.CONNECT, "the provider is not configured any more")
        call = UpstreamCall(path, body, tuple(headers), desk.timeouts[provider], method)
        return await keeper.open(call)


def passed(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The headers of a caller that are for the provider."""
    return [pair for pair in headers if pair[0] in PASSED_HEADERS]


def path_of(kind: str, object_id: str, *more: str) -> str:
    """The provider's path of an object; whatever the id holds, it is one part of it."""
    return "/".join((f"/{kind}", quote(object_id, safe=""), *more))


async def read_limited(reply: UpstreamReply, limit_bytes: int = MAX_ANSWER_BYTES) -> bytes:
    """The body of a short answer; raise UpstreamError for one that is not."""
    parts, size = [], 0
    while part := await reply.read_some():
        size += len(part)
        if size > limit_bytes:
            reply.close()
            raise UpstreamError(UpstreamFault.BROKEN, f"an answer above {limit_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


def object_in(body: bytes) -> dict[str, object] | None:
    """The JSON object of an answer; None where it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
