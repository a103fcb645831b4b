"""Looks after batches that have not ended, so that they are settled whether or not anybody asks."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.batches.kept import BatchRecord
from gateway.batches.kit import Kit, path_of, read_limited
from gateway.batches.lost import is_lost, look_for
from gateway.batches.settling import Settler
from gateway.clock import now_ms
from gateway.providers.port import UpstreamError
from gateway.registries.objects import ObjectKind, OwnedObject

LOG = logging.getLogger("weir.batches")
# Of all gateways together; the oldest come first.
MAX_OPEN = 10_000
Due = Sequence[tuple[OwnedObject, BatchRecord]]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Asks the providers for the batches that are open, each for one after the other."""

    kit: Kit
    settler: Settler

    async def look(self) -> None:
        """Look at every open batch that no process looked at lately.

        Raise LedgerError or RegistryError where what was seen could not be written.
        """
        lately_ms = now_ms() - round(self.kit.section.poll_s * 500)
        due: dict[str, list[tuple[OwnedObject, BatchRecord]]] = {}
        for one in await self.kit.objects.open_ones(ObjectKind.BATCH, MAX_OPEN):
            try:
                record = BatchRecord.from_text(one.record)
            except ValueError as error:
                LOG.error("batch %s: %s", one.object_id, error)
                continue
            if record.looked_ms <= lately_ms:
                due.setdefault(one.provider, []).append((one, record))
        await asyncio.gather(*(self._look_at(name, batches) for name, batches in due.items()))

    async def _look_at(self, provider: str, batches: Due) -> None:
        """Ask a provider for its batches; once it cannot be reached, for none of the others."""
        faults: list[str] = []
        is_away = False
        for found, record in batches:
            one = found
            why = "not asked" if is_away else ""
            if not why:
                try:
                    one, why = await self._ask_for(one)
                except UpstreamError as error:
                    is_away, why = not error.reached_provider, str(error)
            if not why:
                continue
            faults.append(f"{one.object_id}: {why}")
            late_ms = now_ms() - record.hold.lease_until_ms
            if late_ms > self.kit.section.give_up_s * 1_000:
                await self.settler.give_up(one)
            elif not is_away:
                await self.settler.looked(one)
        if faults:
            many, asked = len(faults), len(batches)
            LOG.warning("%d of %d batches are not told by %s: %s", many, asked, provider, faults[0])

    async def _ask_for(self, one: OwnedObject) -> tuple[OwnedObject, str]:
        """Take over what is told of a batch; and why that is not what it should be by now."""
        if is_lost(one):
            return one, await look_for(self.kit, self.settler, one)
        reply = await self.kit.ask(one.provider, b"GET", path_of("batches", one.object_id))
        body = await read_limited(reply)
        if reply.status != 200:
            return one, f"status {reply.status}"
        known = await self.settler.saw(one, body)
        late_ms = now_ms() - BatchRecord.from_text(one.record).hold.lease_until_ms
        return known, "no end, or no output" if known.is_open and late_ms > 0 else ""
