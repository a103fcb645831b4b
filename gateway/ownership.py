"""Whose the responses, conversations and files are that requests name by their ids.

A provider knows one key for all teams, so anybody who knows an id could go on from it. A team may
use what is its own, and what nobody is known to own. Memory is asked first, then the store, which
all processes share and which outlives them. A conversation belongs to the team that names it first,
a response to the one it answered, a file to the one that uploaded it through the gateway.

What cannot be asked is refused. A response is in the store before its answer's end goes out; where
that fails it is known here alone, and written as soon as the store is back.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, TypeVar

from budgets.value import value
from gateway.clock import now_ms
from gateway.dialects.port import Dialect
from gateway.dialects.unseen import ResponseBook
from gateway.errors import bad_request
from gateway.object_errors import (
    conversation_not_found,
    file_not_found,
    owner_unavailable,
    response_not_found,
)
from gateway.registries.objects import ObjectKind, ObjectStore, OwnedObject, may_be_an_id
from gateway.registries.port import RegistryError
from gateway.wire import ModelRequest

LOG = logging.getLogger("weir.gateway")
T = TypeVar("T")
DAY_MS = 86_400_000
# OpenAI keeps a response for thirty days, and a conversation until it is deleted. A batch that has
# ended is history. A file is forgotten with its end only: what nobody owns, anybody may read.
KEPT_DAYS = {ObjectKind.RESPONSE: 30, ObjectKind.CONVERSATION: 365, ObjectKind.BATCH: 365}
# Conversations and files whose owner this process remembers, and responses it owes to the store.
REMEMBERED, OWED = 20_000, 10_000
MAX_FILES = 500
# What a client writes for itself alone.
_NOTES = frozenset({"metadata", "client_metadata"})


@value
class Named:
    """The ids that a request names, empty where it names none."""

    response: str
    conversation: str
    files: tuple[str, ...]


def named_in(dialect: Dialect, request: ModelRequest) -> Named:
    """What a request names of a provider's keeping; raise ApiError (400) for too many files."""
    files = tuple(dict.fromkeys(_file_ids(request.body)))
    if len(files) > MAX_FILES:
        raise bad_request(
            f"The request names {len(files)} files; name at most {MAX_FILES}.",
            "file_id",
            "unsupported_parameter",
        )
    if not dialect.goes_on:
        return Named("", "", files)
    claims = dialect.claims(request)
    return Named(claims.previous_response, claims.conversation, files)


def _file_ids(body: Any) -> Iterator[str]:
    """Every `file_id`, and every id in a list `file_ids`, wherever it stands."""
    level: list[Any] = [{name: part for name, part in body.items() if name not in _NOTES}]
    while level:
        below: list[Any] = []
        for item in level:
            children = item
            if type(item) is dict:
                one, several = item.get("file_id"), item.get("file_ids")
                if type(one) is str:
                    yield one
                if type(several) is list:
                    yield from (each for each in several if type(each) is str)
                children = item.values()
            below += [child for child in children if type(child) is dict or type(child) is list]
        level = below


class Owners:
    """Who may use what. Use it from one event loop.

    Without a store, memory is all there is. `keeping` names the providers that keep responses
    themselves. `responses` is what this process remembers of those.
    """

    __slots__ = ("_keeping", "_now_ms", "_others", "_owed", "_store", "responses")

    def __init__(
        self,
        store: ObjectStore | None = None,
        keeping: Collection[str] = (),
        now_ms: Callable[[], int] = now_ms,
        responses: ResponseBook | None = None,
    ) -> None:
        self.responses = responses or ResponseBook()
        self._store = store
        self._keeping = frozenset(keeping)
        self._now_ms = now_ms
        self._others: OrderedDict[tuple[ObjectKind, str], str] = OrderedDict()
        self._owed: OrderedDict[str, OwnedObject] = OrderedDict()

    async def vouch(self, team: str, named: Named) -> None:
        """Raise ApiError: 404 where anything is another team's, 503 where nobody can say."""
        if named.response and not await self._may_go_on(team, named.response):
            raise response_not_found(named.response)
        if named.conversation and not await self._may_talk(team, named.conversation):
            raise conversation_not_found(named.conversation)
        for file_id in named.files:
            if not await self._may_read(team, file_id):
                raise file_not_found(file_id)

    async def _may_go_on(self, team: str, response_id: str) -> bool:
        """Whether a response is theirs or nobody's; what it used is remembered from here on."""
        book, kind = self.responses, ObjectKind.RESPONSE
        if self._store is not None and book.owner_of(response_id) is None:
            if not may_be_an_id(response_id):
                return False
            found = await _asked(kind, self._store.find(kind, response_id))
            if found is not None:
                book.take_over(found.owner, response_id, _tokens(found))
        return book.is_open_to(team, response_id)

    async def _may_talk(self, team: str, conversation_id: str) -> bool:
        """Whether a conversation is theirs; it is from now on where it was nobody's."""
        if not may_be_an_id(conversation_id):
            return False
        kind = ObjectKind.CONVERSATION
        owner = self._others.get((kind, conversation_id))
        if owner is None:
            owner = team
            if self._store is not None:
                one = OwnedObject(kind, conversation_id, team, "", self._now_ms(), "")
                owner = (await _asked(kind, self._store.claim(one))).owner
            self._remember(kind, conversation_id, owner)
        return owner == team

    async def _may_read(self, team: str, file_id: str) -> bool:
        """Whether a file is theirs, or was not uploaded through any gateway."""
        kind = ObjectKind.FILE
        owner = self._others.get((kind, file_id))
        if owner is None and self._store is not None and may_be_an_id(file_id):
            found = await _asked(kind, self._store.find(kind, file_id))
            if found is not None:
                owner = found.owner
                self._remember(kind, file_id, owner)
        return owner is None or owner == team

    def _remember(self, kind: ObjectKind, object_id: str, owner: str) -> None:
        self._others[kind, object_id] = owner
        while len(self._others) > REMEMBERED:
            self._others.popitem(last=False)

    def learn(
        self,
        team: str,
        response_id: str,
        total_tokens: int | None,
        provider: str,
        *,
        is_kept: bool = True,
    ) -> None:
        """Remember a response at once; with `is_kept` it is to be written down as well.

        That is for `save`, or for `pay` where nobody comes to it.
        """
        self.responses.learn(team, response_id, total_tokens)
        if self._store is None or provider not in self._keeping or not is_kept:
            return
        if not may_be_an_id(response_id):
            return
        record = "" if total_tokens is None else json.dumps({"total_tokens": total_tokens})
        kind = ObjectKind.RESPONSE
        one = OwnedObject(kind, response_id, team, provider, self._now_ms(), record)
        self._owed[response_id] = one
        while len(self._owed) > OWED:
            self._owed.popitem(last=False)

    async def save(self, response_id: str) -> None:
        """Write a response down that was learned; where that fails it stays owed."""
        one = self._owed.get(response_id)
        if one is None:
            return
        try:
            await self._write(one)
        except RegistryError as error:
            LOG.error("whose the response %s is could not be written yet: %s", response_id, error)

    async def pay(self) -> None:
        """Write down what is owed; raise RegistryError where the store is still away."""
        for one in list(self._owed.values()):
            await self._write(one)

    async def _write(self, one: OwnedObject) -> None:
        if self._store is None:
            return
        stands = await self._store.claim(one)
        self._owed.pop(one.object_id, None)
        if stands.owner != one.owner:
            self.responses.take_over(stands.owner, one.object_id, _tokens(stands))

    async def trim(self) -> None:
        """Forget what providers no longer keep; raise RegistryError where that fails."""
        if self._store is not None:
            for kind, days in KEPT_DAYS.items():
                await self._store.trim(kind, self._now_ms() - days * DAY_MS)

    async def close(self) -> None:
        """The last attempt to write down what is owed."""
        try:
            await self.pay()
        except RegistryError as error:
            LOG.error("whose %d responses are was not written: %s", len(self._owed), error)


async def _asked(kind: ObjectKind, answer: Awaitable[T]) -> T:
    """The store's answer; raise ApiError (503) where there is none."""
    try:
        return await answer
    except RegistryError as error:
        LOG.error("whose a %s is could not be read: %s", kind, error)
        raise owner_unavailable(kind.value) from error


def _tokens(response: OwnedObject) -> int | None:
    """What a response used, as its record says; None where it does not."""
    if not response.record:
        return None
    try:
        return int(json.loads(response.record)["total_tokens"])
    except (ValueError, TypeError, KeyError) as error:
        LOG.error("the record of the response %s cannot be read: %s", response.object_id, error)
        return None
