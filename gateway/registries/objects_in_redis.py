"""`ObjectStore` that all gateways on one Redis share, beside the other registries.

An object is one field of its kind's hash: a line of JSON (owner, provider, when it was made), then
`1` or `0` for whether it is open, then its record. A sorted set for each owner has the order, one
for each kind what is open.
"""

import json
from collections.abc import Sequence
from typing import Any

from gateway.registries.in_redis import SharedRedis
from gateway.registries.objects import ObjectKind, OwnedObject
from gateway.registries.port import RegistryError

TRIM_ROWS = 500
# Names hold no control characters, so this separates them.
_BETWEEN = "\x1f"

# KEYS: objects, of the owner, owners, open.   ARGV: id, the object, when made, owner, '1' for open
_CLAIM = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then
  return kept
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[4])
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
end
return ARGV[2]
"""
# KEYS: objects, of the owner, open.   ARGV: id, '1' for open, record
_UPDATE = """
local made_ms = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not made_ms then
  return 0
end
local head = string.match(redis.call('HGET', KEYS[1], ARGV[1]), '^[^\\n]*\\n')
redis.call('HSET', KEYS[1], ARGV[1], head .. ARGV[2] .. ARGV[3])
if ARGV[2] == '1' then
  redis.call('ZADD', KEYS[3], made_ms, ARGV[1])
else
  redis.call('ZREM', KEYS[3], ARGV[1])
end
return 1
"""
# KEYS: objects, of the owner, open.   ARGV: id
_FORGET = """
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
"""
# KEYS: objects, in order.   ARGV: limit, '1' for the newest first, id after which, if any
_IN_ORDER = """
local first, ids = 0, nil
if ARGV[3] then
  local rank = redis.call('ZREVRANK', KEYS[2], ARGV[3])
  if not rank then
    return {}
  end
  first = rank + 1
end
if ARGV[2] == '1' then
  ids = redis.call('ZREVRANGE', KEYS[2], first, first + ARGV[1] - 1)
else
  ids = redis.call('ZRANGE', KEYS[2], first, first + ARGV[1] - 1)
end
local found = {}
for i, id in ipairs(ids) do
  found[2 * i - 1] = id
  found[2 * i] = redis.call('HGET', KEYS[1], id)
end
return found
"""
# KEYS: objects, of the owner, owners, open.   ARGV: before, how many to pass, how many, owner
_TRIM = """
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1], 'LIMIT', ARGV[2], ARGV[3])
local removed = 0
for _, id in ipairs(ids) do
  if not redis.call('ZSCORE', KEYS[4], id) then
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    removed = removed + 1
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SREM', KEYS[3], ARGV[4])
end
return { removed, #ids }
"""


class RedisObjects:
    """`ObjectStore` in Redis."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared

    async def claim(self, one: OwnedObject) -> OwnedObject:
        kind, owner, is_open = one.kind, one.owner, str(int(one.is_open))
        names = (_all(kind), _of(kind, owner), _owners(kind), _open(kind))
        kept = await self._eval(
            _CLAIM, names, one.object_id, _text(one), one.created_ms, owner, is_open
        )
        return _object(kind, one.object_id, kept)

    async def find(self, kind: ObjectKind, object_id: str) -> OwnedObject | None:
        async with self._shared.sound() as client:
            text = await client.hget(self._shared.name(_all(kind)), object_id)
        return None if text is None else _object(kind, object_id, text)

    async def update(self, one: OwnedObject) -> bool:
        kind, is_open = one.kind, str(int(one.is_open))
        names = (_all(kind), _of(kind, one.owner), _open(kind))
        return bool(await self._eval(_UPDATE, names, one.object_id, is_open, one.record))

    async def forget(self, kind: ObjectKind, object_id: str, owner: str) -> bool:
        names = (_all(kind), _of(kind, owner), _open(kind))
        return bool(await self._eval(_FORGET, names, object_id))

    async def listed(
        self, kind: ObjectKind, owner: str, after: str | None, limit: int
    ) -> Sequence[OwnedObject]:
        follow = () if after is None else (after,)
        return await self._in_order(kind, _of(kind, owner), limit, "1", *follow)

    async def open_ones(self, kind: ObjectKind, limit: int) -> Sequence[OwnedObject]:
        return await self._in_order(kind, _open(kind), limit, "0")

    async def _in_order(
        self, kind: ObjectKind, order: str, limit: int, *how: str
    ) -> Sequence[OwnedObject]:
        if limit < 1:
            return []
        found = await self._eval(_IN_ORDER, (_all(kind), order), limit, *how)
        return [_object(kind, found[i], found[i + 1]) for i in range(0, len(found), 2)]

    async def trim(self, kind: ObjectKind, before_ms: int) -> int:
        async with self._shared.sound() as client:
            owners = await client.smembers(self._shared.name(_owners(kind)))
        total = 0
        for owner in sorted(owners):
            names = (_all(kind), _of(kind, owner), _owners(kind), _open(kind))
            passed, seen = 0, TRIM_ROWS
            while seen == TRIM_ROWS:
                removed, seen = await self._eval(_TRIM, names, before_ms, passed, TRIM_ROWS, owner)
                total += removed
                passed += seen - removed
        return total

    async def _eval(self, script: str, names: Sequence[str], *terms: str | int) -> Any:
        keys = [self._shared.name(name) for name in names]
        async with self._shared.sound() as client:
            return await client.eval(script, len(keys), *keys, *terms)

    async def aclose(self) -> None:
        """The connection is the owner's to close."""


def _all(kind: ObjectKind) -> str:
    return f"objects:{kind.value}"


def _of(kind: ObjectKind, owner: str) -> str:
    return f"objects:{kind.value}:of{_BETWEEN}{owner}"


def _owners(kind: ObjectKind) -> str:
    return f"objects:{kind.value}:owners"


def _open(kind: ObjectKind) -> str:
    return f"objects:{kind.value}:open"


def _text(one: OwnedObject) -> str:
    head = json.dumps([one.owner, one.provider, one.created_ms], separators=(",", ":"))
    return f"{head}\n{int(one.is_open)}{one.record}"


def _object(kind: ObjectKind, object_id: str, text: str) -> OwnedObject:
    try:
        head, _, rest = text.partition("\n")
        owner, provider, created_ms = json.loads(head)
        return OwnedObject(
            kind, object_id, owner, provider, int(created_ms), rest[1:], rest[0] == "1"
        )
    except (ValueError, TypeError, IndexError) as error:
        raise RegistryError(f"the {kind} {object_id} in Redis cannot be read: {error}") from error
