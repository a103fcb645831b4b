"""Embeddings: the dialect of `/v1/embeddings`. All of it is input; nothing is generated."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from budgets.usage import TokenUsage, UsageFault, usage_from_embeddings
from gateway.dialects.chat import ChatMeter
from gateway.dialects.openai_style import OpenAIStyle
from gateway.dialects.port import Bounds, InputParts, Meter, ModelRequest
from gateway.errors import bad_request
from gateway.wire import model_of, parse_object, renamed, unanswered

CONTROLS = frozenset({"dimensions", "encoding_format", "metadata", "model", "user"})


class Embeddings(OpenAIStyle):
    """The dialect of `/v1/embeddings`; every input of a batch counts."""

    name = "embeddings"
    speech = "embeddings"
    route = "/v1/embeddings"
    path = "/embeddings"

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        _inputs(body)
        return unanswered(raw, body, model)

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        return renamed(request, upstream_model)

    def frames(self, request: ModelRequest) -> int:
        return len(_inputs(request.body))

    def input_parts(self, request: ModelRequest) -> InputParts:
        inputs = _inputs(request.body)
        token_ids = sum(len(one) for one in inputs if _is_tokens(one))
        said = [one for one in inputs if not _is_tokens(one)]
        left = CONTROLS | {"input"}
        rest = {name: value for name, value in request.body.items() if name not in left}
        return InputParts(said, rest, len(inputs), token_ids)

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        """The longest input: each has a context window of its own."""
        said = [one for one in _inputs(request.body) if isinstance(one, str)]
        longest = [max(said, key=len)] if said else []
        return {"messages": [{"role": "user", "content": text} for text in longest]}

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_embeddings(answer.get("usage") if isinstance(answer, dict) else None)

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
