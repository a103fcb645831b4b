"""Stage 2, and what follows from it: what kind of work a request is, and how much it reads.

The size is taken at a glance, and measured once that matters: counting costs more than it saves
while the budgets are far.
"""

from dataclasses import replace

from gateway.desk import Asking, Call, Desk
from gateway.dialects.unseen import Beyond, Unseen, further_uses
from gateway.input_size import exact_size, whole_size
from gateway.ownership import named_in
from routing.classify import classify
from routing.features import extract_with_text

# A longer text is bounded by its bytes: counting it would take longer than the answer is worth.
COUNTED_BYTES = 400_000


def appraise(desk: Desk, call: Call) -> Asking:
    """The request with its kind and its size at a glance; raise ApiError (400)."""
    dialect, request = call.dialect, call.request
    features, text = extract_with_text(dialect.chat_view(request))
    if features.images or features.audio or features.files:
        size = exact_size(dialect.input_parts(request))
    else:
        size = whole_size(request.raw, dialect.frames(request))
    unseen = dialect.unseen(request)
    beyond = None if unseen is None else _beyond(desk, call, unseen)
    return Asking(call, features, classify(features, text), size, beyond)


def _beyond(desk: Desk, call: Call, unseen: Unseen) -> Beyond:
    """The bound for what is read that is not in the request."""
    uses = further_uses(unseen, desk.limits.hosted_tool_uses)
    team = call.identity.scopes.team
    return Beyond(unseen, uses, desk.owners.responses.tokens_of(team, unseen.response_id))


def reaches_out(asking: Asking) -> bool:
    """Whether a request may name what a provider keeps; most do not, and cost nothing here."""
    if asking.beyond is not None or asking.features.files:
        return True
    # Tools that are switched off add nothing to read, but they may bring files along.
    request = asking.call.request
    return asking.call.dialect.goes_on and request.body.get("tool_choice") == "none"


async def vouch(desk: Desk, asking: Asking) -> None:
    """Have it that all a request names may be used; raise ApiError (400, 404, 503).

    What an earlier response used is known then, where any process knows it.
    """
    call, beyond = asking.call, asking.beyond
    owners, team = desk.owners, call.identity.scopes.team
    await owners.vouch(team, named_in(call.dialect, call.request))
    if beyond is not None and beyond.known_tokens is None and beyond.unseen.response_id:
        known = owners.responses.tokens_of(team, beyond.unseen.response_id)
        asking.beyond = replace(beyond, known_tokens=known)


async def measure(desk: Desk, asking: Asking) -> None:
    """Bound the input by what it really is: at a glance it looks larger."""
    call = asking.call
    asking.size = exact_size(call.dialect.input_parts(call.request))
    asking.is_measured = True
    vocabularies = desk.vocabularies
    if vocabularies and asking.size.text_bytes <= COUNTED_BYTES:
        count, spoken = desk.tokenizer.spoken_tokens, asking.size.spoken
        tokens = {name: await count(name, spoken) for name in set(vocabularies.values())}
        asking.spoken_tokens = {model: tokens[name] for model, name in vocabularies.items()}
