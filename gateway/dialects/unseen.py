"""Input that a request brings into play without holding it, and the bound for it.

A request may go on from a response that the provider keeps, name a file, or let the provider run
tools and read their results. Its own bytes bound none of that. Two facts do:

- One use of a model never reads more than the model's context window.
- What an earlier response used in all is at least what it adds to the next one.

So the input is at most the window, or the earlier total and the request's own bytes where that
total is known and smaller. Each further use of the model, one for each use of a tool that the
provider runs, reads a window at most once more.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from budgets.value import value
from gateway.errors import bad_request

RESPONSES_KEPT = 100_000


@value
class Unseen:
    """What a request reads beyond its own bytes.

    `fields` says where it asks for that. `response_id` is set where all of it is one earlier
    response. `tool_uses` bounds the tools of the provider, None where the request does not; the
    gateway can do so itself in `limit_field`, where there is one. `compactions` is how often the
    conversation may be read once more to be shortened.
    """

    fields: tuple[str, ...]
    response_id: str = ""
    tool_uses: int | None = 0
    compactions: int = 0
    limit_field: str = ""


@value
class FurtherUses:
    """How often the model may be used again, and the limit of tools to inject for it, if any."""

    count: int
    inject: int | None = None


def further_uses(unseen: Unseen, most: int) -> FurtherUses:
    """What to hold for; raise ApiError (400) where the request may use the model more often."""
    tools = unseen.tool_uses
    if tools is None and unseen.limit_field and most > unseen.compactions:
        return FurtherUses(most, most - unseen.compactions)
    if tools is not None and tools + unseen.compactions <= most:
        return FurtherUses(tools + unseen.compactions)
    where = ", ".join(f"`{field}`" for field in unseen.fields)
    fix = f"allow at most {most} uses." if most else "leave it out, or let an operator allow it."
    raise bad_request(
        f"{where} may use the model more often than is set aside for one request: {fix}",
        unseen.fields[0],
        "unsupported_parameter",
    )


def input_bound(
    seen_tokens: int,
    unseen: Unseen | None,
    window_tokens: int,
    uses: int = 0,
    known_tokens: int | None = None,
) -> int:
    """At most so many input tokens, over every use of the model.

    `seen_tokens` bounds the request's own bytes, `uses` is the count of `further_uses`.
    `known_tokens` is what the earlier response used, input and output together, None where that is
    not known.
    """
    if unseen is None:
        return seen_tokens
    first = window_tokens
    if unseen.response_id and known_tokens is not None:
        first = min(first, seen_tokens + known_tokens)
    return first + window_tokens * uses


@value
class Beyond:
    """The bound for one request that reads more than its own bytes, model by model.

    `known_tokens` is what the earlier response used that it goes on from, None where not known.
    """

    unseen: Unseen
    uses: FurtherUses
    known_tokens: int | None = None

    def bound(self, seen_tokens: int, window_tokens: int) -> int:
        """At most so many input tokens with a model of that context window."""
        uses, known = self.uses.count, self.known_tokens
        return input_bound(seen_tokens, self.unseen, window_tokens, uses, known)


class ResponseBook:
    """Whose recent responses are, and what they used in all, so that what follows can be bounded.

    It is the memory of one process and forgets the oldest above `kept`; gateway/ownership.py asks
    the store of all processes for what is not in it.
    """

    __slots__ = ("_kept", "_responses")

    def __init__(self, kept: int = RESPONSES_KEPT) -> None:
        self._kept = kept
        self._responses: OrderedDict[str, tuple[str, int | None]] = OrderedDict()

    def learn(self, owner: str, response_id: str, total_tokens: int | None) -> None:
        """Remember the input and output tokens of a response together, None where not known.

        The first owner keeps it.
        """
        if response_id and self.is_open_to(owner, response_id):
            self.take_over(owner, response_id, total_tokens)

    def take_over(self, owner: str, response_id: str, total_tokens: int | None) -> None:
        """Remember a response as somebody else knows it, who knows better."""
        self._responses[response_id] = (owner, total_tokens)
        self._responses.move_to_end(response_id)
        while len(self._responses) > self._kept:
            self._responses.popitem(last=False)

    def owner_of(self, response_id: str) -> str | None:
        """Whose a response is; None where that is not known."""
        known = self._responses.get(response_id)
        return None if known is None else known[0]

    def is_open_to(self, owner: str, response_id: str) -> bool:
        """Whether an owner may go on from a response: it is theirs, or nobody knows whose it is."""
        known = self._responses.get(response_id)
        return known is None or known[0] == owner

    def tokens_of(self, owner: str, response_id: str) -> int | None:
        """What a response used; None where that is not known, or it is somebody else's."""
        known = self._responses.get(response_id)
        return known[1] if known is not None and known[0] == owner else None


def any_object(value: Any, test: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether any object inside a JSON value, itself included, passes a test."""
    level: list[Any] = [value]
    while level:
        below: list[Any] = []
        for item in level:
            children = item
            if type(item) is dict:
                if test(item):
                    return True
                children = item.values()
            below += [one for one in children if type(one) is dict or type(one) is list]
        level = below
    return False
