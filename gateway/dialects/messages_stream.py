"""The events of a message stream: what they generate, what they report, and how they end.

`message_start` reports the input, `message_delta` everything so far: its counts are cumulative and
take the place of the earlier ones. `message_stop` is the end.
Source: Anthropic API reference, streaming messages.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from budgets.usage import TokenUsage, UsageFault, extras_from_anthropic, usage_from_anthropic
from gateway.dialects.anthropic_style import error_event
from gateway.dialects.events import EventMeter
from gateway.dialects.openai_style import text_field
from gateway.errors import ApiError
from gateway.meter import Sighting

# What a delta generates. A signature is a seal of the provider's, and a citation quotes the input:
# neither is output that anybody is billed for, so counting them would cut honest streams.
_GENERATED = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "compaction_delta": "content",
}
# The parts of a whole content block that are generated.
_BLOCK_TEXTS = ("text", "thinking", "name")
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


class MessageMeter(EventMeter):
    """Meters one message stream."""

    __slots__ = ("_report",)

    def __init__(self, limit_tokens: int, count: Callable[[str], int]) -> None:
        super().__init__(limit_tokens, count)
        self._report: dict[str, Any] = {}

    def fail(self, error: ApiError, request_id: str) -> bytes:
        return error_event(error, request_id)

    def _look_into(self, event: bytes, body: Mapping[str, Any]) -> Sighting:
        kind = body.get("type")
        if kind == "content_block_delta":
            self._look_at(body.get("delta"))
        elif kind == "content_block_start":
            block = body.get("content_block")
            if isinstance(block, dict) and self._take_block(block):
                self.text_events += 1
        elif kind == "message_delta":
            self._merge(body.get("usage"), last=True)
        elif kind == "message_start":
            message = body.get("message")
            if isinstance(message, dict):
                self.response_id = text_field(message, "id")
                self._merge(message.get("usage"), last=False)
        elif kind == "message_stop":
            self.finished = True
            return Sighting(event, done=True)
        elif kind == "error" or body.get("error") is not None:
            self.error_seen = True
        return Sighting(event)

    def _look_at(self, delta: object) -> None:
        if isinstance(delta, dict):
            kind = delta.get("type")
            name = _GENERATED.get(kind) if isinstance(kind, str) else None
            if name is not None and self.take(delta.get(name)):
                self.text_events += 1

    def _take_block(self, block: Mapping[str, Any]) -> int:
        """What a block begins with; a call's arguments follow in pieces, its name does not."""
        if block.get("type") in _CALLS:
            return self.take(block.get("name"))
        return self.take(block.get("text")) + self.take(block.get("thinking"))

    def _merge(self, report: object, *, last: bool) -> None:
        """Let the later counts stand; one that falls is an omission, for they are cumulative."""
        if not isinstance(report, dict):
            return
        merged = self._report
        for name, found in report.items():
            before = merged.get(name)
            if type(found) is int and type(before) is int:
                merged[name] = max(found, before)
            elif found is not None:
                merged[name] = found
        if "cache_creation" not in report and "cache_creation_input_tokens" in report:
            self._forget_a_split_that_is_over()
        usage = usage_from_anthropic(merged)
        if isinstance(usage, TokenUsage) and usage.input_tokens == 0:
            return  # no message has an empty input: a placeholder, and not to be billed by
        if last:
            self._keep(usage)
            self.extras = extras_from_anthropic(merged)
        elif not isinstance(usage, UsageFault):
            self.early = usage

    def _forget_a_split_that_is_over(self) -> None:
        split = self._report.get("cache_creation")
        if isinstance(split, dict):
            known = sum(count for count in split.values() if type(count) is int)
            if known != self._report.get("cache_creation_input_tokens"):
                del self._report["cache_creation"]


def generated_in(message: Mapping[str, Any]) -> Iterator[str]:
    """The generated texts of a whole message: text, thinking, and the calls of tools."""
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, dict):
            continue
        for name in _BLOCK_TEXTS:
            if text := text_field(block, name):
                yield text
        if block.get("type") in _CALLS:
            yield from _leaves(block.get("input"))


def _leaves(value: object) -> Iterator[str]:
    """Every key and scalar of a call's arguments, as text."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif item is not None:
            yield str(item)
