"""How the scripted provider embeds: vectors that depend on the text and on nothing else. Pure."""

import base64
import hashlib
from array import array
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.providers.scripted_wire import (
    NeverStreamed,
    RequestError,
    Said,
    ScriptedRequest,
    Wire,
    openai_error,
    read_limit,
    read_object,
    tokens_in,
)

DIMENSIONS = 8


def read_embeddings(body: bytes) -> ScriptedRequest:
    """Read the body of a request for embeddings; raise RequestError."""
    fields = read_object(body)
    texts = [one for one in inputs_of(fields) if isinstance(one, str)]
    ids = sum(len(one) for one in inputs_of(fields) if isinstance(one, list))
    read_limit(fields, "dimensions")
    return ScriptedRequest(
        model=str(fields.get("model", "")),
        prompt=texts[-1] if texts else "",
        prompts=(),
        prompt_tokens=tokens_in(texts) + ids,
        max_tokens=0,
        stream=False,
        fields=fields,
    )


def inputs_of(fields: Any) -> list[Any]:
    """Each input: a text or a list of tokens; raise RequestError."""
    found = fields.get("input")
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list) or not found:
        raise RequestError("input: must be a text, tokens, or a list of them")
    return [found] if all(type(one) is int for one in found) else found


def vector(text: object, dimensions: int) -> "array[float]":
    """A unit-free vector of small numbers; the same input has the same one."""
    seed = hashlib.sha256(orjson.dumps(text)).digest()
    return array("f", [seed[place % 32] / 256 - 0.5 for place in range(dimensions)])


class EmbeddingWords(NeverStreamed):
    """The words of embeddings."""

    def whole(self, said: Sequence[Said]) -> bytes:
        request = self._answer.request
        dimensions = request.fields.get("dimensions") or DIMENSIONS
        as_text = request.fields.get("encoding_format") == "base64"
        data = []
        for index, one in enumerate(inputs_of(request.fields)):
            numbers = vector(one, dimensions)
            found: object = list(numbers)
            if as_text:
                found = base64.b64encode(numbers.tobytes()).decode()
            data.append({"object": "embedding", "index": index, "embedding": found})
        fields: dict[str, object] = {"object": "list", "data": data, "model": request.model}
        if self._answer.reports_usage:
            tokens = request.prompt_tokens
            fields["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return orjson.dumps(fields)


EMBEDDINGS = Wire("embd", read_embeddings, EmbeddingWords, openai_error)
