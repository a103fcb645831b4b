"""The scripted provider draws, speaks and listens, and bills what it reports.

Covers gateway.providers.scripted_images and gateway.providers.scripted_sound.
"""

from typing import Any

import orjson
import pytest

from gateway.dialects.index import BY_ROUTE
from gateway.providers.port import UpstreamCall
from gateway.providers.script import parse_script
from gateway.providers.scripted import BillLine, ScriptedProvider
from tests.contracts.upstreams import PATIENT, run, started
from tests.unit.gateway.dialects.requests_made import form


def answer(path: str, body: bytes) -> tuple[bytes, list[BillLine]]:
    async def scenario() -> tuple[bytes, list[BillLine]]:
        async with started(ScriptedProvider("s", parse_script("echo"))) as provider:
            reply = await provider.open(UpstreamCall(path, body, (), PATIENT))
            return await reply.read(), list(provider.bill)

    return run(scenario())


@pytest.mark.parametrize("path", ["/images/edits", "/audio/transcriptions", "/audio/translations"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_reported_of_a_form_is_what_is_billed(path: str, stream: bool) -> None:
    dialect = BY_ROUTE[f"/v1{path}"]
    fields = {"model": "m", "prompt": "one two", "stream": str(stream).lower()}
    body, (line,) = answer(path, form(fields, ("file", b"abc")))
    usage: Any
    if stream:
        meter = dialect.meter(1_000, len)
        meter.feed(body)
        usage = meter.usage
    else:
        usage = dialect.usage_in(orjson.loads(body))
    assert usage.input_tokens == line.prompt_tokens > 2
    assert usage.output_tokens == line.completion_tokens == 2


def test_what_cannot_be_read_is_refused_in_openai_s_words() -> None:
    for path, body in (
        ("/images/edits", b"{}"),
        ("/images/generations", b"{}"),
        ("/audio/speech", b"{}"),
        ("/audio/transcriptions", form({"model": "m"})),
    ):
        found, bill = answer(path, body)
        assert orjson.loads(found)["error"]["message"]
        assert bill == []
