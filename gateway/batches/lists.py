"""What a team has at its providers, from the registry: pages in the shape of OpenAI's lists.

A provider's own list is never passed on: its account is shared by all teams.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import parse_qs

import orjson

from budgets.value import value
from gateway.errors import bad_request
from gateway.registries.objects import ObjectKind, ObjectStore, OwnedObject

PAGE = 500
# Of a list in ascending order, which the registry does not have, and of one by purpose.
MAX_SORTED = 10_000


@value
class PageWish:
    """Which part of a list is asked for; `purpose` is empty for any."""

    limit: int
    after: str | None = None
    ascending: bool = False
    purpose: str = ""


def read_wish(query: bytes, default: int, most: int) -> PageWish:
    """The page that a query string asks for; raise ApiError (400) naming the parameter."""
    found = parse_qs(query.decode("latin-1"))
    text = found.get("limit", [str(default)])[-1]
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise bad_request(f"`limit` must be a whole number from 1 to {most}.", "limit")
    order = found.get("order", ["desc"])[-1]
    if order not in ("asc", "desc"):
        raise bad_request('`order` must be "asc" or "desc".', "order")
    after = found.get("after", [None])[-1]
    return PageWish(int(text), after, order == "asc", found.get("purpose", [""])[-1])


async def page_of(
    store: ObjectStore,
    kind: ObjectKind,
    owner: str,
    wish: PageWish,
    told: Callable[[OwnedObject], tuple[str, bytes]],
) -> bytes:
    """A list object with an owner's objects; `told` gives purpose and JSON of one.

    Raise RegistryError, or ApiError (400) where they are too many to be listed so.
    """
    found: list[tuple[str, bytes]] = []
    async for one in _in_order(store, kind, owner, wish):
        purpose, text = told(one)
        if wish.purpose in ("", purpose):
            found.append((one.object_id, text))
        if len(found) > wish.limit:
            break
    page = found[: wish.limit]
    return orjson.dumps(
        {
            "object": "list",
            "data": [orjson.Fragment(text) for _, text in page],
            "first_id": page[0][0] if page else None,
            "last_id": page[-1][0] if page else None,
            "has_more": len(found) > wish.limit,
        }
    )


async def _in_order(
    store: ObjectStore, kind: ObjectKind, owner: str, wish: PageWish
) -> AsyncIterator[OwnedObject]:
    """An owner's objects after the one that is named, in the order that is asked for."""
    if wish.ascending:
        for one in await _ascending(store, kind, owner, wish.after):
            yield one
        return
    after = wish.after
    while page := await store.listed(kind, owner, after, min(PAGE, wish.limit + 1)):
        for one in page:
            yield one
        after = page[-1].object_id


async def _ascending(
    store: ObjectStore, kind: ObjectKind, owner: str, after: str | None
) -> Sequence[OwnedObject]:
    newest = await store.listed(kind, owner, None, MAX_SORTED + 1)
    if len(newest) > MAX_SORTED:
        raise bad_request(
            f"There are more than {MAX_SORTED}, which are listed newest first only.", "order"
        )
    oldest = newest[::-1]
    if after is None:
        return oldest
    places = [place for place, one in enumerate(oldest) if one.object_id == after]
    return oldest[places[0] + 1 :] if places else ()
