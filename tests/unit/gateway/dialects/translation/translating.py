"""What the tests of translations share: a request turned, a stream turned, and its events."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.events import DONE, data_of, object_in
from gateway.dialects.translation.chat_to_messages import ChatToMessages
from gateway.dialects.translation.messages_to_chat import MessagesToChat
from gateway.dialects.translation.port import AnswerWriter, Asked, Target, Translation
from gateway.dialects.translation.responses_to_chat import ResponsesToChat
from gateway.meter import EventSplitter

NOW_S = 1_750_000_000
STRICT = Target()
LENIENT = Target(drop_unsupported=True)
BY_SPEECH: Mapping[str, Translation] = {
    "messages": MessagesToChat(),
    "responses": ResponsesToChat(),
    "chat": ChatToMessages(),
}
SMALLEST: Mapping[str, dict[str, Any]] = {
    "messages": {"max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"input": "Hi"},
    "chat": {"messages": [{"role": "user", "content": "Hi"}]},
}


def ask(speech: str, target: Target = STRICT, **fields: Any) -> Asked:
    """The smallest request of a dialect with further fields, turned."""
    body = {"model": "m", **SMALLEST[speech], **fields}
    return BY_SPEECH[speech].ask(orjson.dumps(body), target, NOW_S)


def sent(speech: str, target: Target = STRICT, **fields: Any) -> dict[str, Any]:
    """What the provider reads of such a request."""
    found: dict[str, Any] = orjson.loads(ask(speech, target, **fields).body)
    return found


def objects_in(stream: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a stream's events, in order."""
    found = [data_of(event) for event in EventSplitter().feed(stream)]
    bodies = (object_in(data) for data in found if data is not None and data != DONE)
    return [body for body in bodies if body is not None]


def written(writer: AnswerWriter, stream: bytes) -> bytes:
    """The whole stream in the caller's words."""
    return b"".join(map(writer.event, objects_in(stream))) + writer.end()


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """One chunk of a chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def called(index: int | None, arguments: str, name: str = "", call_id: str = "") -> dict[str, Any]:
    """A piece of a tool's call inside a chunk."""
    function = {"arguments": arguments, **({"name": name} if name else {})}
    call: dict[str, Any] = {"function": function}
    if index is not None:
        call["index"] = index
    return call | ({"id": call_id, "type": "function"} if call_id else {})


def reported(usage: dict[str, Any]) -> dict[str, Any]:
    """The chunk that reports the usage."""
    return {"id": "c-1", "model": "m", "choices": [], "usage": usage}


def stream_of(*chunks: dict[str, Any]) -> bytes:
    """Chunks as a provider streams them."""
    return b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in chunks) + b"data: [DONE]\n\n"
