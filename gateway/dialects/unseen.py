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


class ResponseBook:
    """What recent responses used in all, so that one that goes on from them can be bounded.

    A response is known only to who made it. It forgets the oldest above `kept`; what it has
    forgotten costs a larger hold and nothing else.
    """

    __slots__ = ("_kept", "_tokens")

    def __init__(self, kept: int = RESPONSES_KEPT) -> None:
        self._kept = kept
        self._tokens: OrderedDict[tuple[str, str], int] = OrderedDict()

    def learn(self, owner: str, response_id: str, total_tokens: int) -> None:
        """Remember the input and output tokens of a response together."""
        if not response_id:
            return
        self._tokens[owner, response_id] = total_tokens
        self._tokens.move_to_end((owner, response_id))
        while len(self._tokens) > self._kept:
            self._tokens.popitem(last=False)

    def tokens_of(self, owner: str, response_id: str) -> int | None:
        """What a response used; None where that is not known."""
        return self._tokens.get((owner, response_id))


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
