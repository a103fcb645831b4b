"""The ledger's Lua scripts and keys, and how a call of one is put on the wire."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from budgets.value import value

NAMES = (
    "reserve",
    "dispatch",
    "settle",
    "correct",
    "release",
    "record",
    "survey",
    "due",
    "expire",
    "trim",
    "restore",
    "found",
)
PARTS = (
    "meta",
    "posted",
    "held",
    "overrun",
    "hold",
    "draft",
    "lease",
    "entry",
    "correction",
    "outbox",
)
"""The keys of one organisation's ledger, in the order in which every script names them."""


@value
class Script:
    """A script's text and the digest by which Redis knows it."""

    text: bytes
    sha: bytes


@cache
def scripts() -> Mapping[str, Script]:
    """Every script by name, each with what all of them begin with."""
    folder = files("budgets").joinpath("lua")
    prelude = folder.joinpath("prelude.lua").read_bytes()
    texts = {name: prelude + folder.joinpath(f"{name}.lua").read_bytes() for name in NAMES}
    return {
        name: Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())
        for name, text in texts.items()
    }


@value
class Keys:
    """The keys of one ledger; their hash tag keeps all of them on one node of a cluster."""

    meta: bytes
    posted: bytes
    held: bytes
    overrun: bytes
    hold: bytes
    draft: bytes
    lease: bytes
    entry: bytes
    correction: bytes
    outbox: bytes

    @classmethod
    def of(cls, org: str) -> "Keys":
        return cls(*(f"{{weir:{org}}}:{part}".encode() for part in PARTS))

    def all(self) -> tuple[bytes, ...]:
        return tuple(getattr(self, part) for part in PARTS)


def pack(arguments: Sequence[bytes]) -> bytes:
    """One command as Redis reads it."""
    return b"*%d\r\n%b" % (len(arguments), _bulk(arguments))


def _bulk(arguments: Sequence[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments])


class Packer:
    """Calls of the scripts on one ledger's keys; the part that never changes is made once."""

    __slots__ = ("_fixed", "_heads")

    def __init__(self, keys: Keys) -> None:
        named = keys.all()
        self._fixed = 3 + len(named)
        count = b"%d" % len(named)
        self._heads = {
            name: _bulk((b"EVALSHA", script.sha, count, *named))
            for name, script in scripts().items()
        }

    def call(self, name: str, arguments: Sequence[bytes]) -> bytes:
        """The call of a script with these arguments."""
        return b"*%d\r\n%b%b" % (
            self._fixed + len(arguments),
            self._heads[name],
            _bulk(arguments),
        )
