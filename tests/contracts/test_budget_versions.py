"""A ledger that several gateways share makes no hold under other budgets than those in force."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.ledger import Account, BudgetsChangedError, Hold
from budgets.stores.in_redis import RedisLedger
from gateway.registries.in_redis import RedisBudgets, SharedRedis
from tests.contracts.ledger_backends import charge, held, reservation, shaper
from tests.contracts.redis_server import shared_server

pytestmark = pytest.mark.redis
TERMS = json.dumps({"limit_usd": "1"})


@asynccontextmanager
async def both(directory: Path) -> AsyncIterator[tuple[RedisLedger, RedisBudgets]]:
    """A ledger and the registry of its budgets, new."""
    org, url = secrets.token_hex(6), shared_server().url
    ledger = RedisLedger(url, org, shaper(), directory, may_found=True)
    shared = SharedRedis(url, f"{{weir:{org}}}:", 5.0)
    try:
        await ledger.open()
        yield ledger, RedisBudgets(shared)
    finally:
        await shared.aclose()
        await ledger.aclose()


def test_a_reservation_from_other_budgets_than_those_in_force_sets_nothing_aside(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with both(tmp_path) as (ledger, budgets):
            asked = reservation("h1", 10, charge("org:o", 100))
            none_set = await budgets.version()
            await held(ledger, replace(asked, budgets=none_set))
            await budgets.change("org:*/day", TERMS, "k1", 1)
            again = replace(asked, hold_id="h2")
            for known in (none_set, "another"):
                with pytest.raises(BudgetsChangedError):
                    await ledger.reserve(replace(again, budgets=known))
            assert (await ledger.survey(["org:o"]))["org:o"] == Account(0, 10, 0)
            await held(ledger, replace(again, budgets=await budgets.version()))
            await held(ledger, replace(again, hold_id="h3"))  # which asks for no version
            assert (await ledger.survey(["org:o"]))["org:o"] == Account(0, 30, 0)

    asyncio.run(story())


def test_a_hold_that_was_made_stays_whatever_is_set_then(tmp_path: Path) -> None:
    async def story() -> None:
        async with both(tmp_path) as (ledger, budgets):
            asked = reservation("h1", 10, charge("org:o", 100))
            asked = replace(asked, budgets=await budgets.version())
            hold = await held(ledger, asked)
            await budgets.change("org:*/day", TERMS, "k1", 1)
            assert await ledger.reserve(asked) == hold
            sent = await ledger.dispatch(hold, b"draft")
            assert isinstance(await ledger.extend(sent, replace(asked, amount_nano=20)), Hold)

    asyncio.run(story())
