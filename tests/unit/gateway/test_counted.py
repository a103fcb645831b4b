"""Messages that are counted here because their provider cannot."""

import orjson

from gateway.counted import Counted
from gateway.dialects.port import InputParts
from gateway.providers.port import UpstreamCall
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from gateway.tokenizer import Tokenizer
from tests.contracts.upstreams import PATIENT, run, started

MESSAGES = [{"role": "user", "content": "How full is the reservoir?"}]


def call(path: str, **fields: object) -> UpstreamCall:
    body = orjson.dumps({"model": "m", "messages": MESSAGES, **fields})
    return UpstreamCall(path, body, (), PATIENT)


def test_messages_are_counted_here_and_everything_else_is_asked() -> None:
    async def scenario() -> None:
        tokenizer = Tokenizer()
        counted = Counted(ScriptedProvider("up", Script()), tokenizer.count_prompt)
        async with started(counted) as provider:
            assert provider.name == "up"
            assert provider.ready
            reply = await provider.open(call("/messages/count_tokens?beta=true", system="Be dry."))
            assert (reply.status, dict(reply.headers)[b"x-weir-counted-by"]) == (200, b"gateway")
            alone = await tokenizer.count_prompt(InputParts(MESSAGES, {}, 1))
            tokens = orjson.loads(await reply.read())["input_tokens"]
            assert alone < tokens < 2 * alone
            asked = await provider.open(call("/messages", max_tokens=5))
            assert orjson.loads(await asked.read())["type"] == "message"

    run(scenario())
