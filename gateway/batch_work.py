"""Puts files and batches together for one process, and has its batches looked after."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway.batches.kit import Kit
from gateway.batches.settling import Settler
from gateway.batches.watcher import Watcher
from gateway.config import Settings
from gateway.config_batches import BatchesSection
from gateway.desk import Desk
from gateway.ledger_watch import LedgerWatch
from gateway.registries.objects import ObjectStore
from gateway.routes.batches import BatchRoutes
from gateway.routes.files import FileRoutes
from gateway.upkeep import beside, keep_up


@dataclass(frozen=True, slots=True)
class BatchWork:
    """The routes of files and batches in one process."""

    files: FileRoutes
    batches: BatchRoutes


ELSEWHERE = BatchWork(FileRoutes(None), BatchRoutes(None, None))


def open_batches(
    settings: Settings, desk: Desk, objects: ObjectStore, watch: LedgerWatch, stack: AsyncExitStack
) -> BatchWork:
    """Routes, and a watcher for as long as the stack is open; what it began it finishes."""
    section: BatchesSection = settings.batches
    offers = {name: frozenset(one.dialects) for name, one in settings.providers.items()}
    kit = Kit(desk, objects, section, offers, asyncio.Semaphore(section.uploads))
    settler = Settler(kit)
    stack.push_async_callback(settler.drain)
    watcher = Watcher(kit, settler)
    what = "batches could not be looked after"
    beside(stack, keep_up(what, section.poll_s, watch, watcher.look))
    batches = BatchRoutes(kit, settler)
    stack.push_async_callback(batches.drain)
    return BatchWork(FileRoutes(kit), batches)
