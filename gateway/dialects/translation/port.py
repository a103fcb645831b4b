"""What a translation is asked: a request in other words, and the way back for its answer.

    Translation     one pair of dialects: `ask` turns a request
    Asked           the request as the provider reads it, and what turns its answer back
    AnswerWriter    writes one answer, whole or streamed, in the words of the caller
    Target          what is known of the provider's own dialect
    Losses          what of a request could not be carried: refused, or named
    Omissions       what of an answer was left out, by name

Nothing is lost in silence. A field that would change the answer and has no counterpart is refused
with its name (400), or left out and named where the provider's section allows it. A hint, which the
answer does not depend on, is left out and named. So is what an answer says and the caller's dialect
has no word for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from budgets.value import value
from gateway.errors import ApiError, bad_request

MAX_OMISSIONS = 32
_LONGEST_NAME = 120


@value
class Target:
    """How the provider differs from its dialect's standard.

    `limit_field` is where it reads the output limit, `reasoning_effort` whether it takes one,
    `reasoning_field` the field of an assistant's message in which it wants earlier reasoning back
    (empty: nowhere), `drop_unsupported` whether what cannot be carried is left out.
    """

    limit_field: str = "max_tokens"
    reasoning_effort: bool = False
    reasoning_field: str = ""
    drop_unsupported: bool = False


@dataclass(slots=True)
class Losses:
    """Collects what a translation leaves out of one request."""

    may_drop: bool
    dropped: dict[str, None] = field(default_factory=dict)

    def hint(self, name: str) -> None:
        """Note a field that the answer does not depend on."""
        self.dropped[name] = None

    def refuse(self, name: str, why: str) -> None:
        """Note a field that the answer depends on; raise ApiError (400) unless it may be lost."""
        if not self.may_drop:
            raise unsupported(name, why)
        self.dropped[name] = None

    def rest(self, body: Mapping[str, Any], known: frozenset[str], where: str = "") -> None:
        """Refuse every field that the translation does not know, if it says anything."""
        for name, found in body.items():
            if name not in known and found is not None:
                self.refuse(where + name, "is not known")


def unsupported(name: str, why: str) -> ApiError:
    """A request that cannot be put into the provider's words."""
    return bad_request(
        f"`{name[:120]}` {why}, and the model that was chosen is reached through another API that "
        "cannot carry it. Leave it out, ask for another model, or set `drop_unsupported = true` "
        "for its provider.",
        name[:120],
        "unsupported_parameter",
    )


class Omissions:
    """Collects the names of what is left out of one answer, `MAX_OMISSIONS` at most."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def note(self, name: str) -> None:
        """Remember that something of this name was left out."""
        if len(self.names) < MAX_OMISSIONS:
            self.names["answer." + name[:_LONGEST_NAME]] = None

    def rest(self, found: Mapping[str, Any], known: frozenset[str], where: str = "") -> None:
        """Note every field that the translation does not read, if it says anything."""
        for name in found.keys() - known:
            if found[name]:
                self.note(where + name)


class AnswerWriter(Protocol):
    """Writes one answer in the words of the caller. `omissions` grow while it does."""

    @property
    def omissions(self) -> Omissions:
        """What was left out so far."""

    def event(self, body: Mapping[str, Any]) -> bytes:
        """The caller's events for one event of the provider's, none or several."""

    def end(self) -> bytes:
        """The caller's last events, when the provider's stream is over.

        Nothing where it ended too early: the caller's meter sees that the stream is torn.
        """

    def whole(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The caller's whole answer for the provider's; nothing else may have been written."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in the provider's words. `dropped` names what was left out."""

    path: str
    body: bytes
    dropped: tuple[str, ...]
    writer: AnswerWriter


class Translation(Protocol):
    """From one dialect to another and back. `source` and `goal` are paths after the base URL.

    `speech` and `goal_speech` are the same two by the names that a provider's section uses.
    """

    source: str
    speech: str
    goal: str
    goal_speech: str

    def ask(self, raw: bytes, target: Target, now_s: int) -> Asked:
        """Turn a request; raise ApiError (400) naming the field that cannot be carried."""

    def error_body(self, status: int, body: bytes) -> bytes:
        """An error of the provider's as the caller's dialect words it."""

    def refusal_body(self, error: ApiError) -> bytes:
        """An error of ours as the caller's dialect words it."""
