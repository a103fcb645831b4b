"""Answers as their clients understand them: one record for every dialect, to compare two of them.

Written against the vendors' documents, and without a line of the gateway's own reading.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NO_ANSWER = ("refusal", "content_filter")


@dataclass
class Read:
    """What a client knows of an answer when it is over; what was not told is empty."""

    text: str = ""
    reasoning: str = ""
    refused: bool = False
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    seals: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    audio: str = ""
    choices: list[str] = field(default_factory=list)
    citations: int = 0
    cut_short: bool = False
    stop_sequence: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    thought_tokens: int = 0
    audio_tokens: int = 0
    error: str = ""
    incomplete: bool = True
    comments: list[str] = field(default_factory=list)


def _events(stream: bytes, found: Read) -> list[dict[str, Any]]:
    """The JSON objects of a stream after the standard: any line end, comments, several lines."""
    text = stream.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    *whole, _ = text.split("\n\n")
    objects = []
    for event in whole:
        lines = event.split("\n")
        found.comments += [line for line in lines if line.startswith(":")]
        data = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
        if data and data != ["[DONE]"]:
            objects.append(json.loads("\n".join(data)))
        elif data:
            found.incomplete = False
    return objects


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _logprobs(told: object) -> list[float]:
    entries = told.get("content") if isinstance(told, dict) else told
    return [entry["logprob"] for entry in entries or ()]


def read_chat(body: bytes, *, streamed: bool) -> Read:
    """A chat completion or its stream."""
    found = Read()
    parts: dict[int, dict[str, str]] = {}
    texts: dict[int, str] = {}
    chunks = _events(body, found) if streamed else [json.loads(body)]
    for chunk in chunks:
        found.error = found.error or (chunk.get("error") or {}).get("message", "")
        for choice in chunk.get("choices", ()):
            said = choice.get("delta") or choice.get("message") or {}
            at = choice["index"]
            texts[at] = texts.get(at, "") + (said.get("content") or "")
            found.reasoning += said.get("reasoning_content") or ""
            found.text += said.get("refusal") or ""
            found.refused |= bool(said.get("refusal"))
            found.refused |= choice.get("finish_reason") == "content_filter"
            found.cut_short |= choice.get("finish_reason") == "length"
            found.stop_sequence = found.stop_sequence or choice.get("stop_reason") or ""
            found.logprobs += _logprobs(choice.get("logprobs"))
            found.audio += "".join(str(sound) for sound in (said.get("audio") or {}).values())
            found.citations += len(said.get("annotations") or ())
            blocks = said.get("thinking_blocks") or ()
            seals = (block.get("signature") or block.get("data") for block in blocks)
            found.seals += filter(None, seals)
            # litellm's own name for the seals of Gemini.
            theirs = said.get("provider_specific_fields") or {}
            found.seals += theirs.get("thought_signatures", ())
            for place, call in enumerate(said.get("tool_calls") or ()):
                part = parts.setdefault(call.get("index", place), {"id": "", "name": "", "a": ""})
                function = call.get("function") or {}
                part["id"] += call.get("id") or ""
                part["name"] += function.get("name") or ""
                part["a"] += function.get("arguments") or ""
        _chat_usage(found, chunk.get("usage"))
    found.calls = [(part["id"], part["name"], _as_json(part["a"])) for part in parts.values()]
    found.text += texts.get(0, "")
    found.choices = list(texts.values())
    found.incomplete = (found.incomplete and streamed) or bool(found.error)
    return found


def _chat_usage(found: Read, usage: Mapping[str, Any] | None, theirs: str = "prompt") -> None:
    if not usage:
        return
    outputs = "completion" if theirs == "prompt" else "output"
    found.input_tokens = usage[f"{theirs}_tokens"]
    found.output_tokens = usage[f"{outputs}_tokens"]
    inside = usage.get(f"{theirs}_tokens_details") or {}
    found.cached = inside.get("cached_tokens", 0)
    found.cache_write_1h = inside.get("cache_write_1h_tokens", 0)
    found.cache_write = inside.get("cache_write_tokens", 0) + found.cache_write_1h
    made = usage.get(f"{outputs}_tokens_details") or {}
    found.thought_tokens = made.get("reasoning_tokens", 0)
    found.audio_tokens = inside.get("audio_tokens", 0) + made.get("audio_tokens", 0)


def read_response(body: bytes, *, streamed: bool) -> Read:
    """A response or its stream; of a stream the deltas count, and the end for what has none."""
    found = Read()
    if not streamed:
        _whole_response(found, json.loads(body))
        return found
    said = ""
    logprobs: list[float] = []
    for event in _events(body, found):
        kind = event["type"]
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            said += event["delta"]
            logprobs += _logprobs(event.get("logprobs"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            _whole_response(found, event["response"])
            assert kind == "response.failed" or found.text == said
            found.logprobs = logprobs
        elif kind == "error":
            found.error = found.error or event["message"]
    found.text = said
    found.incomplete = found.incomplete or bool(found.error)
    return found


def _whole_response(found: Read, response: Mapping[str, Any]) -> None:
    found.incomplete = response["status"] not in ("completed", "incomplete")
    found.error = (response.get("error") or {}).get("message", "")
    why = (response.get("incomplete_details") or {}).get("reason")
    found.cut_short = why == "max_output_tokens"
    found.refused = why == "content_filter"
    for item in response["output"]:
        if item["type"] == "reasoning":
            texts = item.get("content") or item["summary"]
            found.reasoning += "".join(part["text"] for part in texts)
            if item.get("encrypted_content"):
                found.seals.append(item["encrypted_content"])
        elif item["type"] == "message":
            for part in item["content"]:
                found.text += part.get("text") or part.get("refusal") or ""
                found.refused |= part["type"] == "refusal"
                found.logprobs += _logprobs(part.get("logprobs"))
                found.citations += len(part.get("annotations") or ())
        elif item["type"] in ("function_call", "custom_tool_call"):
            told = item.get("arguments") or item.get("input") or ""
            found.calls.append((item["call_id"], item["name"], _as_json(told)))
    _chat_usage(found, response.get("usage"), "input")


def read_message(body: bytes, *, streamed: bool) -> Read:
    """A message or its stream."""
    found = Read()
    if not streamed:
        message = json.loads(body)
        _blocks(found, message["content"])
        _ended(found, message)
        _message_usage(found, message["usage"])
        found.incomplete = False
        return found
    blocks: list[dict[str, Any]] = []
    for event in _events(body, found):
        match event["type"]:
            case "message_start":
                _message_usage(found, event["message"]["usage"])
            case "content_block_start":
                blocks.append({**event["content_block"], "json": ""})
            case "content_block_delta":
                _add(blocks[event["index"]], event["delta"])
            case "message_delta":
                _ended(found, event["delta"])
                _message_usage(found, event["usage"])
            case "message_stop":
                found.incomplete = False
            case "error":
                found.error = event["error"]["message"]
    for block in blocks:
        if block["type"] == "tool_use" and block["json"]:
            block["input"] = _as_json(block["json"])
    _blocks(found, blocks)
    return found


def _add(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name, told in delta.items():
        if name == "partial_json":
            block["json"] += told
        elif name == "citation":
            block.setdefault("citations", []).append(told)
        elif name != "type":
            block[name] = block.get(name, "") + told


def _blocks(found: Read, blocks: list[dict[str, Any]]) -> None:
    for block in blocks:
        if block["type"] == "text":
            found.text += block["text"]
            found.citations += len(block.get("citations") or ())
        elif block["type"] == "thinking":
            found.reasoning += block["thinking"]
            found.seals.append(block["signature"])
        elif block["type"] == "redacted_thinking":
            found.seals.append(block["data"])
        elif block["type"] == "tool_use":
            found.calls.append((block["id"], block["name"], block["input"]))


def _ended(found: Read, told: Mapping[str, Any]) -> None:
    found.refused = told.get("stop_reason") in NO_ANSWER
    found.cut_short = told.get("stop_reason") == "max_tokens"
    found.stop_sequence = told.get("stop_sequence") or ""


def _message_usage(found: Read, usage: Mapping[str, Any]) -> None:
    """Counts are cumulative, and the input is told in parts that do not overlap."""
    found.cached = usage.get("cache_read_input_tokens") or found.cached
    found.cache_write = usage.get("cache_creation_input_tokens") or found.cache_write
    hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")
    found.cache_write_1h = hour or found.cache_write_1h
    if usage.get("input_tokens") is not None:
        found.input_tokens = usage["input_tokens"] + found.cached + found.cache_write
    found.output_tokens = usage["output_tokens"]
    made = usage.get("output_tokens_details") or {}
    found.thought_tokens = made.get("thinking_tokens", found.thought_tokens)


Reader = Callable[..., Read]
READERS: Mapping[str, Reader] = {
    "chat": read_chat,
    "messages": read_message,
    "responses": read_response,
}
