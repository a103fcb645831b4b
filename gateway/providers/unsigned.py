"""Thinking that no provider of messages has sealed, and must not be sent to one.

An answer of another provider's, told in the words of messages, carries its reasoning as thinking
with the seal `UNSIGNED`. The next request brings it back, and may then go to Anthropic, which
refuses every seal that is not its own.
"""

import orjson

UNSIGNED = "weir-unsigned"
_MARK = UNSIGNED.encode()


def without_unsigned(body: bytes) -> bytes:
    """A request to a provider of messages without thinking that no such provider has sealed."""
    if _MARK not in body:
        return body
    found = orjson.loads(body)
    for message in found.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            message["content"] = [block for block in content if not _is_unsigned(block)]
    return orjson.dumps(found)


def _is_unsigned(block: object) -> bool:
    return isinstance(block, dict) and block.get("signature") == UNSIGNED
