"""Looks after batches that have not ended, so that they are settled whether or not anybody asks."""

import logging
from dataclasses import dataclass

from gateway.batches.kept import BatchRecord
from gateway.batches.kit import Kit, path_of, read_limited
from gateway.batches.settling import Settler
from gateway.clock import now_ms
from gateway.providers.port import UpstreamError
from gateway.registries.objects import ObjectKind, OwnedObject

LOG = logging.getLogger("weir.batches")
# Of all gateways together; the oldest come first, so that none waits for ever.
MAX_OPEN = 10_000


@dataclass(frozen=True, slots=True)
class Watcher:
    """Asks the providers for the batches that are open, one after the other."""

    kit: Kit
    settler: Settler

    async def look(self) -> None:
        """Look at every open batch that no process looked at lately.

        Raise LedgerError or RegistryError where what was seen could not be written.
        """
        lately_ms = now_ms() - round(self.kit.section.poll_s * 500)
        for one in await self.kit.objects.open_ones(ObjectKind.BATCH, MAX_OPEN):
            try:
                record = BatchRecord.from_text(one.record)
            except ValueError:
                LOG.exception("batch %s", one.object_id)
                continue
            if record.looked_ms <= lately_ms:
                await self._look_at(one, record)

    async def _look_at(self, one: OwnedObject, record: BatchRecord) -> None:
        """Ask for a batch; one that stays away long after its money was charged is given up."""
        why = ""
        try:
            reply = await self.kit.ask(one.provider, b"GET", path_of("batches", one.object_id))
            body = await read_limited(reply)
            if reply.status == 200:
                one = await self.settler.saw(one, body)
            else:
                why = f"status {reply.status}"
        except UpstreamError as error:
            why = str(error)
        if why:
            LOG.warning("batch %s: %s cannot be asked: %s", one.object_id, one.provider, why)
        late_ms = now_ms() - record.hold.lease_until_ms
        if one.is_open and late_ms > self.kit.section.give_up_s * 1_000:
            await self.settler.give_up(one)
        elif why:
            await self.settler.looked(one)
