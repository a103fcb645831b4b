"""Which life of the ledger a gateway may trust: a Redis that forgot must not pass for an empty one.

A life is an epoch (a number and a random token) that is bound to one run of one Redis server. A
server that was restarted, a replica that took its place, and a server that was flushed are other
runs or have no epoch: what they hold may be older than what was promised. Then every request is
denied until the ledger is rebuilt, which begins the next life. Each gateway remembers the newest
epoch it has seen in a file of its own, so that an older one is never taken for the present.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from budgets.ledger import LedgerError
from budgets.value import value

RECORD = (b"epoch", b"run_id", b"seq", b"collector")
REMEDY = "run `weir ledger rebuild` with this gateway stopped"


class LedgerUnreachableError(LedgerError):
    """Redis did not carry out the move in time, or said that it cannot; nobody knows which.

    `cause` is one word for what is wrong with the server.
    """

    cause = "unreachable"


class LedgerLostError(LedgerUnreachableError):
    """What Redis holds may be less than what was promised; nothing is admitted until a rebuild."""

    cause = "lost"


class LedgerReadOnlyError(LedgerUnreachableError):
    """The server is a replica, which takes no writes."""

    cause = "read_only"


class LedgerEvictingError(LedgerUnreachableError):
    """The server may forget accounts when its memory is full."""

    cause = "evicting"


class LedgerFullError(LedgerUnreachableError):
    """The server has no memory left for a write."""

    cause = "full"


@value
class Epoch:
    """One life of the ledger; a later one has a greater number."""

    number: int
    token: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The epoch of a text such as `3-9f2c`; None for an empty one."""
        if not text:
            return None
        number, dash, token = text.partition("-")
        if not (dash and number.isascii() and number.isdigit()):
            raise LedgerLostError(f"{text!r} is no epoch of a ledger; {REMEDY}")
        return cls(int(number), token)

    @classmethod
    def after(cls, *earlier: "Epoch | None") -> Self:
        """A new one, later than each of those."""
        last = max((epoch.number for epoch in earlier if epoch is not None), default=0)
        return cls(last + 1, secrets.token_hex(4))

    @property
    def text(self) -> str:
        return f"{self.number}-{self.token}"


def gateway_name(path: Path) -> str:
    """A name that this gateway keeps for good; raise LedgerError where it cannot."""
    try:
        if not path.exists():
            draft = path.with_suffix(".new")
            draft.write_text(secrets.token_hex(8), encoding="ascii")
            draft.replace(path)
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} cannot be kept: {error}") from error


class EpochMemory:
    """The newest epoch this gateway has seen, in a file that outlives it."""

    __slots__ = ("_path", "known")

    def __init__(self, path: Path) -> None:
        """Read the file where there is one; raise LedgerError where it cannot be read."""
        self._path = path
        try:
            text = path.read_text(encoding="ascii") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise LedgerError(f"{path} cannot be read: {error}") from error
        self.known: Epoch | None = Epoch.parse(text.strip())

    def remember(self, epoch: Epoch) -> None:
        """Write an epoch down before anything is admitted in it."""
        if epoch == self.known:
            return
        draft = self._path.with_suffix(".new")
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(epoch.text + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise LedgerError(f"{self._path} cannot be written: {error}") from error
        self.known = epoch


@value
class Server:
    """What a server says of itself, and the life of the ledger that it holds."""

    run_id: str
    role: str
    policy: str
    epoch: Epoch | None
    bound_to: str
    newest_seq: int
    collector: str
    now_ms: int

    @classmethod
    def of(cls, info: Mapping[str, str], record: Sequence[bytes | None], now_ms: int) -> Self:
        """From the fields of INFO and those of the ledger's own record (`RECORD`)."""
        epoch, bound_to, newest_seq, collector = [(field or b"").decode() for field in record]
        return cls(
            info.get("run_id", ""),
            info.get("role", ""),
            info.get("maxmemory_policy", ""),
            Epoch.parse(epoch),
            bound_to,
            int(newest_seq or 0),
            collector,
            now_ms,
        )


def check_server(server: Server) -> None:
    """Raise LedgerUnreachableError for a server that must not keep a ledger at all."""
    if server.policy != "noeviction":
        raise LedgerEvictingError(
            f"Redis evicts keys (maxmemory-policy is {server.policy or 'unknown'}), and an account "
            "that is evicted is a limit that starts again; set maxmemory-policy noeviction"
        )
    if server.role != "master":
        raise LedgerReadOnlyError(
            f"Redis is a {server.role or 'server of unknown role'} and cannot be written to; "
            "give the address of the primary"
        )


def check_life(server: Server, known: Epoch | None) -> Epoch:
    """The life that may be trusted; raise LedgerLostError where there is none."""
    epoch = server.epoch
    if epoch is None:
        raise LedgerLostError(f"Redis holds no ledger any more; {REMEDY}")
    if server.bound_to != server.run_id:
        raise LedgerLostError(
            "Redis was restarted or replaced since the ledger was last proven, and may have "
            f"forgotten the newest entries; {REMEDY}"
        )
    if known is not None and epoch != known and epoch.number <= known.number:
        raise LedgerLostError(
            f"Redis holds an older ledger (epoch {epoch.text}) than this gateway has seen "
            f"({known.text}); {REMEDY}"
        )
    return epoch


def read_info(answer: bytes) -> dict[str, str]:
    """INFO's lines as fields."""
    lines = answer.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
