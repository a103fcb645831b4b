"""Batches of which nobody knows whether the provider took them: looked for in the provider's list.

The answer to a batch may be lost on its way, or the gateway may die before it could write down
whose the batch is. So each is kept as nobody's, under a name of our own, before it is sent, and
forgotten once it is known. Of one that stays, what the provider lists for the same file, made since
and known to nobody, is it: it becomes its team's and goes its way. Where the list goes back far
enough and has none, there is none, and nothing is charged.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.batches.kept import BatchRecord
from gateway.batches.kit import Kit, object_in, read_limited
from gateway.batches.settling import Settler
from gateway.clock import now_ms
from gateway.registries.objects import ObjectKind, OwnedObject, may_be_an_id

LOG = logging.getLogger("weir.batches")
# No team has this name, so no list shows them.
NOBODY = ""
_PREFIX = "lost:"
SENDING, UNKNOWN = "sending", "unknown"
PAGE = 100
# How far the provider's clock may be from ours, and how long a batch may take to be listed.
SKEW_S = 120
SURE_S = 600


def lost_batch(
    record: BatchRecord, provider: str, file_id: str, status: str = SENDING
) -> OwnedObject:
    """What is kept of a batch that is being sent or may be there; `record` as of one that is."""
    told = orjson.dumps({"object": "batch", "status": status, "input_file_id": file_id})
    return OwnedObject(
        ObjectKind.BATCH,
        f"{_PREFIX}{record.hold.hold_id}",
        NOBODY,
        provider,
        now_ms(),
        replace(record, told=told).to_text(),
        is_open=True,
    )


def is_lost(one: OwnedObject) -> bool:
    """Whether it is kept under a name of ours."""
    return one.owner == NOBODY and one.object_id.startswith(_PREFIX)


async def look_for(kit: Kit, settler: Settler, one: OwnedObject) -> str:
    """Find a batch that may be there, or find that it is not; why neither is known, if so.

    Raise UpstreamError where the provider cannot be asked.
    """
    record = BatchRecord.from_text(one.record)
    if record.batch.get("status") == SENDING and not _is_over(kit, one):
        return ""
    reply = await kit.ask(one.provider, b"GET", f"/batches?limit={PAGE}")
    listed = object_in(await read_limited(reply))
    batches = None if listed is None else listed.get("data")
    if reply.status != 200 or listed is None or not isinstance(batches, list):
        return f"no list of batches: status {reply.status}"
    sent_s = record.hold.admitted_ms // 1_000
    found = [batch for batch in batches if isinstance(batch, dict)]
    for batch in sorted(found, key=_created_s):
        if _created_s(batch) >= sent_s - SKEW_S and _may_be_it(record, batch):
            known = await kit.objects.find(ObjectKind.BATCH, batch["id"])
            if known is None:
                await _adopt(kit, settler, one, record, batch)
                return ""
            if BatchRecord.from_text(known.record).hold.hold_id == record.hold.hold_id:
                await kit.objects.forget(ObjectKind.BATCH, one.object_id, NOBODY)
                return ""  # it was written down, and this one was to be forgotten
    reaches_back = not listed.get("has_more") or any(
        0 < _created_s(batch) < sent_s - SKEW_S for batch in found
    )
    if not reaches_back or now_ms() // 1_000 - sent_s < SURE_S:
        return "not in the provider's list so far"
    LOG.warning("batch %s: the provider never took it", record.hold.hold_id)
    await settler.settle_nothing(one, record)
    await kit.objects.forget(ObjectKind.BATCH, one.object_id, NOBODY)
    return ""


def _is_over(kit: Kit, one: OwnedObject) -> bool:
    """Whether nobody can be waiting for the provider's answer any more."""
    timeouts = kit.desk.timeouts.get(one.provider)
    waits_s = 0.0 if timeouts is None else timeouts.total_s
    return now_ms() - one.created_ms > (waits_s + SKEW_S) * 1_000


def _may_be_it(record: BatchRecord, batch: Mapping[str, Any]) -> bool:
    """Whether a batch is of the same file, with an id by which it can be known."""
    batch_id = batch.get("id")
    same = batch.get("input_file_id") == record.batch.get("input_file_id")
    return same and isinstance(batch_id, str) and may_be_an_id(batch_id)


async def _adopt(
    kit: Kit, settler: Settler, one: OwnedObject, record: BatchRecord, batch: Mapping[str, Any]
) -> None:
    """Give a batch that was found to its team."""
    team = str(orjson.loads(record.draft)["team"])
    told = orjson.dumps(batch)
    known = OwnedObject(
        ObjectKind.BATCH,
        str(batch["id"]),
        team,
        one.provider,
        one.created_ms,
        replace(record, told=told).to_text(),
        is_open=True,
    )
    stands = await kit.objects.claim(known)
    if stands == known:
        LOG.warning("batch %s was found as %s", record.hold.hold_id, known.object_id)
        await kit.objects.forget(ObjectKind.BATCH, one.object_id, NOBODY)
        await settler.saw(known, told)


def _created_s(batch: Mapping[str, Any]) -> int:
    created = batch.get("created_at")
    return created if type(created) is int else 0
