"""Embeddings: the dialect of `/v1/embeddings`. All of it is input; nothing is generated."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from budgets.usage import TokenUsage, UsageExtras, UsageFault, usage_from_embeddings
from gateway.dialects import openai_style
from gateway.dialects.chat import ChatMeter
from gateway.dialects.openai_style import OpenAIErrors
from gateway.dialects.port import Bounds, Claims, InputParts, Meter, ModelRequest
from gateway.dialects.unseen import Unseen
from gateway.errors import bad_request
from gateway.wire import model_of, parse_object, splice

CONTROLS = frozenset({"dimensions", "encoding_format", "metadata", "model", "user"})


class Embeddings(OpenAIErrors):
    """The dialect of `/v1/embeddings`; every input of a batch counts."""

    name = "embeddings"
    speech = "embeddings"
    route = "/v1/embeddings"
    path = "/embeddings"
    is_free = False
    goes_on = False

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        _inputs(body)
        return ModelRequest(
            raw=raw,
            body=body,
            model=model,
            stream=False,
            wants_usage=True,
            output_tokens=0,
            choices=1,
        )

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        if upstream_model == request.model:
            return request.raw
        return splice(request.raw, request.body, {"model": upstream_model})

    def frames(self, request: ModelRequest) -> int:
        return len(_inputs(request.body))

    def input_parts(self, request: ModelRequest) -> InputParts:
        inputs = _inputs(request.body)
        token_ids = sum(len(one) for one in inputs if _is_tokens(one))
        said = [one for one in inputs if not _is_tokens(one)]
        left = CONTROLS | {"input"}
        rest = {name: value for name, value in request.body.items() if name not in left}
        return InputParts(said, rest, len(inputs), token_ids)

    def unseen(self, request: ModelRequest) -> Unseen | None:
        return None

    def service_tier(self, request: ModelRequest) -> str:
        return openai_style.service_tier(request)

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        """The longest input: each has a context window of its own."""
        said = [one for one in _inputs(request.body) if isinstance(one, str)]
        longest = [max(said, key=len)] if said else []
        return {"messages": [{"role": "user", "content": text} for text in longest]}

    def claims(self, request: ModelRequest) -> Claims:
        return openai_style.claims(request)

    def parties(self, request: ModelRequest) -> Mapping[str, Any]:
        return request.body

    def said(self, request: ModelRequest) -> Sequence[Any]:
        return ()

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_embeddings(answer.get("usage") if isinstance(answer, dict) else None)

    def extras_in(self, answer: object) -> UsageExtras:
        return UsageExtras()

    def id_in(self, answer: object) -> str:
        return ""

    def texts_in(self, answer: object) -> Iterable[str]:
        return ()

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        """For a provider that streams what nobody asked it to stream."""
        return ChatMeter(limit_tokens, count)


def _inputs(body: Mapping[str, Any]) -> list[Any]:
    """Each input: a text, a list of tokens, or what else a provider takes."""
    found = body.get("input")
    if found is None:
        raise bad_request(
            '`input` is missing: send a text such as "Hello" or a list of texts.',
            "input",
            "missing_required_parameter",
        )
    if not isinstance(found, list):
        return [found]
    if not found:
        raise bad_request("`input` must hold at least one text.", "input")
    return [found] if _is_tokens(found) else found


def _is_tokens(found: Any) -> bool:
    return isinstance(found, list) and all(type(one) is int for one in found)
