"""Chat completions: the dialect of `/v1/chat/completions`. The request itself is gateway/wire.py's.

Generated text has older and rarer forms, which count as well: `function_call`, custom tools, the
transcript of spoken answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from budgets.usage import TokenUsage, UsageFault, usage_from_openai
from gateway.dialects.choices import ChoiceMeter
from gateway.dialects.openai_style import OpenAIStyle
from gateway.dialects.port import Bounds, InputParts, Meter, ModelRequest
from gateway.wire import read_chat_request, upstream_body

# Fields that steer a request and never become part of the prompt.
CONTROLS = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
_SPOKEN = dict.fromkeys(("content", "reasoning_content", "reasoning", "refusal"))
_CALLED = frozenset({"tool_calls", "function_call", "audio"})


class ChatMeter(ChoiceMeter):
    """Meters one chat completion stream."""

    __slots__ = ()

    def _look_at(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        seen = 0
        for name, text in delta.items():  # most have one key
            if name in _SPOKEN:
                seen += self.take(text)
            elif name in _CALLED:
                for called in _called_in({name: text}):
                    seen += self.take(called)
        if seen:
            self.text_events += 1


def generated_in(message: Mapping[str, Any]) -> Iterator[object]:
    """What a message, or a piece of one, holds of generated text; some of it may be no text."""
    for name in _SPOKEN:
        if (text := message.get(name)) is not None:
            yield text
    yield from _called_in(message)


def _called_in(message: Mapping[str, Any]) -> Iterator[object]:
    """The generated texts that are not said: calls, and the transcript of sound."""
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        for call in calls:
            if isinstance(call, dict):
                yield from _named(call.get("function"), "arguments")
                yield from _named(call.get("custom"), "input")
    if "function_call" in message:
        yield from _named(message["function_call"], "arguments")
    if "audio" in message and isinstance(message["audio"], dict):
        yield message["audio"].get("transcript")


def _named(call: object, field: str) -> Iterator[object]:
    if isinstance(call, dict):
        yield call.get("name")
        yield call.get(field)


class ChatCompletions(OpenAIStyle):
    """The dialect of `/v1/chat/completions`."""

    name = "chat.completions"
    speech = "chat"
    route = "/v1/chat/completions"
    path = "/chat/completions"

    def read(self, raw: bytes) -> ModelRequest:
        return read_chat_request(raw)

    def upstream_body(self, request: ModelRequest, upstream_model: str, bounds: Bounds) -> bytes:
        return upstream_body(request, upstream_model, bounds.output_tokens, bounds.limit_field)

    def frames(self, request: ModelRequest) -> int:
        return len(request.body["messages"])

    def input_parts(self, request: ModelRequest) -> InputParts:
        messages = request.body["messages"]
        left = CONTROLS | {"messages"}
        rest = {name: value for name, value in request.body.items() if name not in left}
        return InputParts([messages], rest, self.frames(request))

    def chat_view(self, request: ModelRequest) -> Mapping[str, Any]:
        return request.body

    def said(self, request: ModelRequest) -> Sequence[Any]:
        messages: list[Any] = request.body["messages"]
        return messages

    def usage_in(self, answer: object) -> TokenUsage | UsageFault:
        return usage_from_openai(answer.get("usage") if isinstance(answer, dict) else None)

    def texts_in(self, answer: object) -> Iterable[str]:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get("message") if isinstance(choice, dict) else None
            if isinstance(message, dict):
                yield from (text for text in generated_in(message) if isinstance(text, str))

    def meter(self, limit_tokens: int, count: Callable[[str], int]) -> Meter:
        return ChatMeter(limit_tokens, count)
