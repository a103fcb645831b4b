"""The ledger's Lua scripts and keys, and how a call of one is put on the wire."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from budgets.value import value

NAMES: Mapping[str, tuple[str, ...]] = {
    "reserve": ("holds", "limits"),
    "extend": ("holds", "limits"),
    "dispatch": (),
    "settle": ("holds", "entries"),
    "correct": ("holds", "entries"),
    "release": ("holds", "entries"),
    "record": ("entries",),
    "survey": (),
    "due": (),
    "expire": ("holds", "entries"),
    "trim": (),
    "restore": ("holds", "entries"),
    "found": (),
    "open": ("entries",),
    "counting": (),
    "note": (),
    "oldest": ("holds",),
}
"""Every script, and what it begins with after the prelude."""
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
    "opening",
    "counting",
)
"""The keys of one organisation's ledger, in the order in which every script names them."""


@value
class Script:
    """A script's text and the digest by which Redis knows it."""

    text: bytes
    sha: bytes


@cache
def scripts() -> Mapping[str, Script]:
    """Every script by name, each with what it begins with."""
    folder = files("budgets").joinpath("lua")
    texts = {
        name: b"".join(
            [folder.joinpath(f"{part}.lua").read_bytes() for part in ("prelude", *before, name)]
        )
        for name, before in NAMES.items()
    }
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
    opening: bytes
    counting: bytes

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
