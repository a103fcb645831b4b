"""What providers keep for teams, and whose it is: the port; SQLite and Redis pass one suite.

Responses, conversations, files and batches are known to a provider by an id alone, under one key of
the installation. Who may use an id, only the gateway can say.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from budgets.value import value

MAX_ID_CHARS = 256


class ObjectKind(StrEnum):
    """What a provider keeps. Ids of different kinds have nothing to do with each other."""

    RESPONSE = "response"
    CONVERSATION = "conversation"
    FILE = "file"
    BATCH = "batch"


@value
class OwnedObject:
    """Something a provider keeps for a team; raise ValueError where `may_be_an_id` says no.

    `provider` is empty where it is not known. `record` is text of what its kind has to remember,
    `is_open` what is still to be looked after, such as a batch that has not ended.
    """

    kind: ObjectKind
    object_id: str
    owner: str
    provider: str
    created_ms: int
    record: str
    is_open: bool = False

    def __post_init__(self) -> None:
        if not may_be_an_id(self.object_id):
            raise ValueError(
                f"an id has 1 to {MAX_ID_CHARS} printable characters: {self.object_id[:40]!r}"
            )


def may_be_an_id(text: str) -> bool:
    """Whether an object can be known by it: 1 to 256 printable characters."""
    return 0 < len(text) <= MAX_ID_CHARS and text.isprintable()


class ObjectStore(Protocol):
    """Objects by kind and id. Each method is one atomic step; any may raise RegistryError.

    `claim`, `update` and `forget` are durable, as the store is, once they return. In SQLite a power
    cut may take the newest responses and conversations, but no file and no batch.
    """

    async def claim(self, one: OwnedObject) -> OwnedObject:
        """Keep an object; the first owner stands. What stands: this one, or who came before."""

    async def find(self, kind: ObjectKind, object_id: str) -> OwnedObject | None:
        """The object of an id, whosever it is; None where it is not known."""

    async def update(self, one: OwnedObject) -> bool:
        """Take over `record` and `is_open`; False where it is unknown or another owner's."""

    async def forget(self, kind: ObjectKind, object_id: str, owner: str) -> bool:
        """Know it no more; False where it is unknown or another owner's."""

    async def listed(
        self, kind: ObjectKind, owner: str, after: str | None, limit: int
    ) -> Sequence[OwnedObject]:
        """An owner's objects, the newest first, at most so many of those older than `after`.

        Objects of one millisecond are in the order of their ids. None follow an unknown `after`.
        """

    async def open_ones(self, kind: ObjectKind, limit: int) -> Sequence[OwnedObject]:
        """What is open of every owner, the oldest first, at most so many."""

    async def trim(self, kind: ObjectKind, before_ms: int) -> int:
        """Forget what was made before that and is not open; how many there were.

        Not atomic as a whole: it goes in small steps, so that others need not wait for it.
        """

    async def aclose(self) -> None: ...
