"""Text completions: the dialect of `/v1/completions`.

A request may hold many prompts, each answered `n` times, or tried `best_of` times; all of that is
generated and billed. Prompts may be tokens instead of text.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from budgets.usage import TokenUsage, UsageFault, usage_from_openai
from gateway.dialects.choices import ChoiceMeter
from gateway.dialects.openai_style import OpenAIStyle
from gateway.dialects.port import Bounds, InputParts, Meter, ModelRequest
from gateway.errors import bad_request
from gateway.wire import (
    flag,
    model_of,
    parse_object,
    positive,
    refuse_other_limits,
    splice,
    stream_options,
)

CONTROLS = frozenset(
    {
        "best_of",
        "echo",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "metadata",
        "model",
        "n",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "user",
    }
)
LIMIT_FIELD = "max_tokens"
# What OpenAI's API generates where the request sets no limit.
DEFAULT_TOKENS = 16
MAX_CHOICES = 2_048


class CompletionMeter(ChoiceMeter):
    """Meters one text completion stream."""

    __slots__ = ()

    def _look_at(self, choice: Mapping[str, Any]) -> None:
        if self.take(choice.get("text")):
            self.text_events += 1


class Completions(OpenAIStyle):
    """The dialect of `/v1/completions`."""

    name = "completions"
    speech = "completions"
    route = "/v1/completions"
    path = "/completions"

    def read(self, raw: bytes) -> ModelRequest:
        body = parse_object(raw)
        model = model_of(body)
        prompts = len(_prompts(body))
        stream = flag(body, "stream")
        options = stream_options(body)
        refuse_other_limits(body)
        if stream and flag(body, "echo"):
            raise bad_request(
                "`echo` cannot be metered in a stream: the prompt would be taken for the answer. "
                "Leave out `echo` or `stream`.",
                "echo",
                "unsupported_parameter",
            )
        tries = max(positive(body, "n") or 1, positive(body, "best_of") or 1)
        if prompts * tries > MAX_CHOICES:
            raise bad_request(
                f"One request may ask for {MAX_CHOICES} completions at most, and {prompts} prompts "
                f"with {tries} each are more.",
                "prompt",
            )
        limit = positive(body, LIMIT_FIELD, least=0)
        return ModelRequest(
            raw=raw,
            body=body,
            model=model,
            stream=stream,
            wants_usage=bool(options.get("include_usage")),
            output_tokens=DEFAULT_TOKENS if limit is None else limit,
            choices=prompts * tries,
        )

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        """The default limit is written out, because providers differ in theirs."""
        changes: dict[str, Any] = {}
        if upstream_model != request.model:
            changes["model"] = upstream_model
        if request.stream and not request.wants_usage:
            options = request.body.get("stream_options") or {}
            changes["stream_options"] = {**options, "include_usage": True}
        asked = request.output_tokens
        bound = bounds.output_tokens
        if bound is not None and (asked is None or asked > bound):
            changes[LIMIT_FIELD] = bound
        elif request.body.get(LIMIT_FIELD) is None:
            changes[LIMIT_FIELD] = asked
        return splice(request.raw, request.body, changes) if changes else request.raw

    def frames(self, request: ModelRequest) -> int:
        return len(_prompts(request.body))

    def input_parts(self, request: ModelRequest) -> InputParts:
        prompts = _prompts(request.body)
        said = [prompt for prompt in prompts if not isinstance(prompt, list)]
        token_ids = sum(len(prompt) for prompt in prompts if isinstance(prompt, list))
        left = CONTROLS | {"prompt"}
        rest = {name: value for name, value in request.body.items() if name not in left}
        return InputParts(said, rest, len(prompts), token_ids)

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        """The longest prompt: each has a context window of its own."""
        said = [text for text in _prompts(request.body) if isinstance(text, str)]
        longest = [max(said, key=len)] if said else []
        view: dict[str, Any] = {
            "messages": [{"role": "user", "content": text} for text in longest],
            "max_tokens": request.output_tokens,
            "n": request.choices,
            "stream": request.stream,
        }
        if "response_format" in request.body:
            view["response_format"] = request.body["response_format"]
        return view

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_openai(answer.get("usage") if isinstance(answer, dict) else None)

    def texts_in(self, answer: object) -> Iterable[str]:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            text = choice.get("text") if isinstance(choice, dict) else None
            if isinstance(text, str):
                yield text

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        return CompletionMeter(limit_tokens, count)


def _prompts(body: Mapping[str, Any]) -> list[str | list[int]]:
    """Each prompt, as text or as tokens; raise ApiError (400) for anything else."""
    prompt = body.get("prompt")
    if prompt is None:
        return [""]  # a provider begins a new document then
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(one, str) for one in prompt):
            return prompt
        if _are_tokens(prompt):
            return [prompt]
        if all(isinstance(one, list) and _are_tokens(one) for one in prompt):
            return prompt
    raise bad_request(
        "`prompt` must be a text, a list of texts, a list of tokens or a list of such lists.",
        "prompt",
        "invalid_type",
    )


def _are_tokens(found: list[Any]) -> bool:
    return all(type(one) is int for one in found)
