"""The registries that all gateways on one Redis share, beside their ledger.

A version is a random text in the ledger's record (`meta`) that is replaced in the same step as what
it stands for. So a gateway learns of a change by one field, and after a Redis that lost its newest
seconds no other change can have the version of one that was lost.
"""

import json
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.auth import Role
from gateway.registries.port import (
    ALERT_STATES,
    STANDING,
    Alert,
    BudgetChange,
    Crossing,
    KeyRecord,
    RegistryError,
    StoredKey,
)
from gateway.run_registry import OpenedRun, from_text, to_text

KEYS_VERSION, BUDGETS_VERSION = "keys_version", "budgets_version"
SECRET_FIELD = "secret"
# Names hold no control characters, so this separates them.
_BETWEEN = "\x1f"

# KEYS: meta, terms by name, changes.
# ARGV: name, terms (empty: delete), head of the change, version
_CHANGE = """
local before = redis.call('HGET', KEYS[2], ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
elseif before then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  return 0
end
redis.call('RPUSH', KEYS[3], ARGV[3] .. ',"before":' .. (before or 'null')
  .. ',"after":' .. (ARGV[2] ~= '' and ARGV[2] or 'null') .. '}')
redis.call('HSET', KEYS[1], 'budgets_version', ARGV[4])
return before and 1 or 0
"""
# KEYS: as above.   ARGV: version, how many of these: name and terms of each budget, then changes
_PUT_BACK = """
if redis.call('HSETNX', KEYS[1], 'budgets_version', ARGV[1]) == 0 then
  return 0
end
local first = 3 + tonumber(ARGV[2])
for i = 3, first - 1, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
for i = first, #ARGV do
  redis.call('RPUSH', KEYS[3], ARGV[i])
end
return 1
"""
# KEYS: meta, told, alerts, due, counts.   ARGV: what is told of, the crossing, '1' to deliver it
_NOTE = """
if redis.call('ZADD', KEYS[2], 'NX', 0, ARGV[1]) == 0 then
  return 0
end
local id = redis.call('HINCRBY', KEYS[1], 'alert_seq', 1)
redis.call('HSET', KEYS[3], id, ARGV[2])
if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[4], 0, id)
else
  redis.call('HINCRBY', KEYS[5], 'logged', 1)
end
return 1
"""
# KEYS: due, alerts, attempts.   ARGV: now, until
_TAKE = """
local id = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
if not id then
  return {}
end
redis.call('ZADD', KEYS[1], ARGV[2], id)
return { id, redis.call('HGET', KEYS[2], id), redis.call('HGET', KEYS[3], id) or '0' }
"""


class SharedRedis:
    """A connection to the Redis of the ledger, and the names of what is kept there."""

    def __init__(self, url: str, prefix: str, timeout_s: float) -> None:
        """Connect with the first call. `prefix` holds the hash tag of the ledger's keys."""
        self._prefix = prefix
        self._seen: set[str] = set()
        self.client: Any = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=None,
            decode_responses=True,
        )

    def name(self, part: str) -> str:
        return self._prefix + part

    @property
    def meta(self) -> str:
        return self.name("meta")

    @asynccontextmanager
    async def sound(self) -> AsyncIterator[Any]:
        """The client; what it raises becomes RegistryError."""
        try:
            yield self.client
        except (RedisError, OSError) as error:
            raise RegistryError(f"the registry in Redis could not be used: {error}") from error

    async def agree(self, fingerprint: str) -> bool:
        """Whether the gateways on this Redis use the secret of this fingerprint; the first says."""
        async with self.sound() as client:
            await client.hsetnx(self.meta, SECRET_FIELD, fingerprint)
            return bool(await client.hget(self.meta, SECRET_FIELD) == fingerprint)

    async def version(self, field: str) -> str:
        """Empty where there never was one; raise RegistryError where Redis has forgotten it."""
        async with self.sound() as client:
            found = cast(str, await client.hget(self.meta, field) or "")
        return self._known(field, found)

    def _known(self, field: str, version: str) -> str:
        if version:
            self._seen.add(field)
        elif field in self._seen:
            raise RegistryError("Redis holds no registry any more; run `weir ledger rebuild`")
        return version

    async def load(self, field: str, *names: str) -> tuple[str, list[Any]]:
        """A version and the hashes of it, read in one step."""
        async with self.sound() as client, client.pipeline(transaction=True) as step:
            step.hget(self.meta, field)
            for name in names:
                step.hgetall(self.name(name))
            version, *hashes = await step.execute()
        return self._known(field, version or ""), hashes

    async def aclose(self) -> None:
        await self.client.aclose()


class RedisKeys:
    """`KeyStore` in Redis."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared
        self._keys, self._revoked = shared.name("keys"), shared.name("revoked_keys")

    async def version(self) -> str:
        return await self._shared.version(KEYS_VERSION)

    async def load(self) -> tuple[str, Sequence[StoredKey]]:
        version, [keys, revoked] = await self._shared.load(KEYS_VERSION, "keys", "revoked_keys")
        found = [_stored(key_id, text, revoked.get(key_id)) for key_id, text in keys.items()]
        return version, sorted(found, key=lambda key: (key.record.created_ms, key.record.key_id))

    async def add(self, keys: Collection[StoredKey]) -> None:
        async with self._shared.sound() as client, client.pipeline(transaction=True) as step:
            for key in keys:
                record = key.record
                step.hsetnx(self._keys, record.key_id, _text(key))
                if record.revoked_ms is not None:
                    step.hsetnx(self._revoked, record.key_id, record.revoked_ms)
            step.hset(self._shared.meta, KEYS_VERSION, secrets.token_hex(8))
            await step.execute()

    async def revoke(self, key_id: str, now_ms: int) -> KeyRecord | None:
        async with self._shared.sound() as client:
            text = await client.hget(self._keys, key_id)
            if text is None:
                return None
            async with client.pipeline(transaction=True) as step:
                step.hsetnx(self._revoked, key_id, now_ms)
                step.hget(self._revoked, key_id)
                step.hset(self._shared.meta, KEYS_VERSION, secrets.token_hex(8))
                _, revoked_ms, _ = await step.execute()
            return _stored(key_id, text, revoked_ms).record

    async def aclose(self) -> None:
        """The connection is the owner's to close."""


def _text(key: StoredKey) -> str:
    terms = asdict(key.record)
    del terms["key_id"], terms["revoked_ms"]
    return json.dumps({**terms, "digest": key.digest.hex()})


def _stored(key_id: str, text: str, revoked_ms: str | None) -> StoredKey:
    try:
        terms = json.loads(text)
        digest = bytes.fromhex(terms.pop("digest"))
        role = Role(terms.pop("role"))
        revoked = None if revoked_ms is None else int(revoked_ms)
        return StoredKey(digest, KeyRecord(key_id, **terms, role=role, revoked_ms=revoked))
    except (ValueError, TypeError, KeyError) as error:
        raise RegistryError(f"the API key {key_id} in Redis cannot be read: {error}") from error


class RedisBudgets:
    """`BudgetStore` in Redis."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared

    async def version(self) -> str:
        return await self._shared.version(BUDGETS_VERSION)

    async def load(self) -> tuple[str, Mapping[str, str]]:
        version, [terms] = await self._shared.load(BUDGETS_VERSION, "budgets")
        return version, dict(sorted(terms.items()))

    async def change(self, name: str, after: str | None, who: str, now_ms: int) -> bool:
        what = "deleted" if after is None else "set"
        head = json.dumps({"at_ms": now_ms, "who": who, "what": what, "name": name})[:-1]
        names = [self._shared.name(part) for part in ("meta", "budgets", "budget_changes")]
        async with self._shared.sound() as client:
            version = secrets.token_hex(8)
            return bool(await client.eval(_CHANGE, 3, *names, name, after or "", head, version))

    async def changes(self, limit: int) -> Sequence[BudgetChange]:
        async with self._shared.sound() as client, client.pipeline(transaction=True) as step:
            step.llen(self._shared.name("budget_changes"))
            step.lrange(self._shared.name("budget_changes"), -limit, -1)
            count, texts = await step.execute()
        first = count - len(texts) + 1
        told = [BudgetChange(first + place, **json.loads(t)) for place, t in enumerate(texts)]
        return told[::-1]

    async def put_back(self, terms: Mapping[str, str], changes: Sequence[BudgetChange]) -> None:
        """Begin with these budgets and changes (the oldest first), where there were never any."""
        told = [asdict(change) for change in changes]
        texts = [json.dumps({k: v for k, v in one.items() if k != "change_id"}) for one in told]
        pairs = [text for pair in terms.items() for text in pair]
        names = [self._shared.name(part) for part in ("meta", "budgets", "budget_changes")]
        async with self._shared.sound() as client:
            version = secrets.token_hex(8)
            await client.eval(_PUT_BACK, 3, *names, version, len(pairs), *pairs, *texts)

    async def aclose(self) -> None:
        """The connection is the owner's to close."""


class RedisAlerts:
    """`AlertStore` in Redis."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared
        self._told, self._due = shared.name("alerts_told"), shared.name("alerts_due")
        self._alerts, self._attempts = shared.name("alerts"), shared.name("alert_attempts")
        self._counts = shared.name("alert_counts")

    async def told(self, budget: str, scope: str, start_s: int) -> set[int]:
        before = _BETWEEN.join((budget, scope, str(start_s), ""))
        async with self._shared.sound() as client:
            found = await client.zrangebylex(self._told, f"[{before}", f"[{before}\x7f")
        return {int(member.rpartition(_BETWEEN)[2]) for member in found}

    async def note(self, crossing: Crossing, *, deliver: bool) -> bool:
        member = _member(crossing.budget, crossing.scope, crossing.start_s, crossing.permille)
        names = [self._shared.meta, self._told, self._alerts, self._due, self._counts]
        text = json.dumps(asdict(crossing))
        async with self._shared.sound() as client:
            return bool(await client.eval(_NOTE, 5, *names, member, text, "1" if deliver else ""))

    async def rearm(self, budget: str, scope: str, permille: int) -> None:
        async with self._shared.sound() as client:
            await client.zrem(self._told, _member(budget, scope, STANDING, permille))

    async def take(self, now_ms: int, until_ms: int) -> Alert | None:
        names = [self._due, self._alerts, self._attempts]
        async with self._shared.sound() as client:
            found = await client.eval(_TAKE, 3, *names, now_ms, until_ms)
        if not found:
            return None
        alert_id, text, attempts = found
        return Alert(int(alert_id), Crossing(**json.loads(text)), int(attempts))

    async def delivered(self, alert_id: int) -> None:
        await self._tried(alert_id, "delivered", None)

    async def failed(self, alert_id: int, next_ms: int | None) -> None:
        await self._tried(alert_id, "given_up" if next_ms is None else None, next_ms)

    async def _tried(self, alert_id: int, outcome: str | None, next_ms: int | None) -> None:
        async with self._shared.sound() as client, client.pipeline(transaction=True) as step:
            step.hincrby(self._attempts, alert_id, 1)
            if outcome is not None:
                step.hincrby(self._counts, outcome, 1)
            if next_ms is None:
                step.zrem(self._due, alert_id)
            else:
                step.zadd(self._due, {alert_id: next_ms})
            await step.execute()

    async def counts(self) -> Mapping[str, int]:
        async with self._shared.sound() as client, client.pipeline(transaction=True) as step:
            step.hgetall(self._counts)
            step.zcard(self._due)
            counted, pending = await step.execute()
        counts = {state: int(number) for state, number in counted.items()}
        return dict.fromkeys(ALERT_STATES, 0) | counts | {"pending": pending}

    async def aclose(self) -> None:
        """The connection is the owner's to close."""


class RedisRuns:
    """`RunStore` in Redis: a key for each run, which ends by itself."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared

    async def add(self, run: OpenedRun) -> None:
        name = self._name(run.team, run.grant.run_id)
        async with self._shared.sound() as client:
            new = await client.set(name, to_text(run), nx=True, exat=run.kept_until_s)
        if not new:
            raise RegistryError(f"the run {run.grant.run_id} is there already")

    async def find(self, team: str, run_id: str) -> OpenedRun | None:
        async with self._shared.sound() as client:
            text = await client.get(self._name(team, run_id))
        try:
            return None if text is None else from_text(text)
        except ValueError as error:
            raise RegistryError(f"the run {run_id} in Redis cannot be read: {error}") from error

    def _name(self, team: str, run_id: str) -> str:
        return self._shared.name(_BETWEEN.join(("run", team, run_id)))

    async def aclose(self) -> None:
        """The connection is the owner's to close."""


def _member(budget: str, scope: str, start_s: int, permille: int) -> str:
    return _BETWEEN.join((budget, scope, str(start_s), str(permille)))
