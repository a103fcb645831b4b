"""A copy of the registries in Redis, in the data directory of a gateway that owns a warehouse.

Redis may forget: a flush, or a restart from an old dump. What was made before the registries were
in Redis is in the same file. So the copy is written whenever something changed, and what Redis
lacks is put back at a start.
"""

import logging

from gateway.registries.in_redis import RedisBudgets, RedisKeys
from gateway.registries.in_sqlite import SqliteBudgets, SqliteKeys

LOG = logging.getLogger("weir.registries")
ALL_CHANGES = 1_000_000


class RegistryCopies:
    """Keys and budgets here (a file) and there (Redis)."""

    def __init__(
        self, here: tuple[SqliteKeys, SqliteBudgets], there: tuple[RedisKeys, RedisBudgets]
    ) -> None:
        self._own_keys, self._own_budgets = here
        self._keys, self._budgets = there
        self._saved = ("", "")

    async def restore(self) -> None:
        """Put back what Redis lacks; raise RegistryError where it cannot be asked.

        Keys are only ever made and revoked, so both sides are put together. Budgets are also
        deleted, so they go back only where Redis has never had any.
        """
        _, own = await self._own_keys.load()
        _, shared = await self._keys.load()
        there = {key.record.key_id: key.record.revoked for key in shared}
        missing = [
            key
            for key in own
            if key.record.key_id not in there
            or (key.record.revoked and not there[key.record.key_id])
        ]
        if missing:
            await self._keys.add(missing)
            LOG.warning("%d API keys or revocations were put back into Redis", len(missing))
        _, terms = await self._own_budgets.load()
        if await self._budgets.version():
            return
        changes = await self._own_budgets.changes(ALL_CHANGES)
        if changes:
            await self._budgets.put_back(terms, changes[::-1])
            LOG.warning("%d budgets that were set were put back into Redis", len(terms))

    async def refresh(self) -> None:
        """Write down what changed in Redis; raise RegistryError where that cannot be done."""
        versions = (await self._keys.version(), await self._budgets.version())
        if versions == self._saved:
            return
        _, keys = await self._keys.load()
        await self._own_keys.add(keys)
        if versions[1]:
            _, terms = await self._budgets.load()
            changes = await self._budgets.changes(ALL_CHANGES)
            await self._own_budgets.put_back(terms, changes[::-1])
        self._saved = versions

    async def aclose(self) -> None:
        """Let go of the file."""
        await self._own_keys.aclose()
        await self._own_budgets.aclose()
