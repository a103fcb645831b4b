"""The scripted provider's files and batches: worded as OpenAI does, and all of it on its bill."""

import asyncio
from typing import Any

import orjson
import pytest

from gateway.providers.port import Timeouts, UpstreamCall, UpstreamError
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from gateway.providers.scripted_batches import BatchScript, read_script
from tests.unit.gateway.batches.made import CHAT, chat, jsonl
from tests.unit.gateway.batches.rooms import ENDS, form
from tests.unit.gateway.desks import run


class Asked:
    """A provider, and calls to it."""

    def __init__(self) -> None:
        self.provider = ScriptedProvider("here", Script())

    async def call(self, method: bytes, path: str, body: bytes = b"") -> tuple[int, bytes]:
        reply = await self.provider.open(UpstreamCall(path, body, (), Timeouts(), method))
        return reply.status, await reply.read()

    async def told(self, method: bytes, path: str, body: Any = b"") -> dict[str, Any]:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        status, text = await self.call(method, path, raw)
        assert status == 200, text
        found = orjson.loads(text)
        assert isinstance(found, dict)
        return found

    async def begun(self, script: str, *lines: object) -> dict[str, Any]:
        await self.provider.start()
        file = await self.told(b"POST", "/files", form(jsonl(*lines)))
        asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        return await self.told(b"POST", "/batches", {**asked, "metadata": {"script": script}})

    async def ended(self, batch: dict[str, Any]) -> dict[str, Any]:
        while batch["status"] not in ENDS:
            await asyncio.sleep(0)
            batch = await self.told(b"GET", f"/batches/{batch['id']}")
        return batch


def test_a_batch_answers_its_lines_and_tells_what_it_used() -> None:
    async def story() -> None:
        up = Asked()
        batch = await up.begun("", chat(1), chat(2, messages=[_says("#weir:status=500")]))
        assert (batch["object"], batch["status"]) == ("batch", "validating")
        batch = await up.ended(batch)
        assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
        _, output = await up.call(b"GET", f"/files/{batch['output_file_id']}/content")
        [answer] = [orjson.loads(line) for line in output.splitlines()]
        assert (answer["custom_id"], answer["response"]["status_code"]) == ("c1", 200)
        [bill] = up.provider.bill
        assert batch["usage"]["total_tokens"] == bill.prompt_tokens + bill.completion_tokens
        _, errors = await up.call(b"GET", f"/files/{batch['error_file_id']}/content")
        assert orjson.loads(errors)["response"]["status_code"] == 500

    run(story())


def _says(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("script", "status", "done"),
    [
        ("end=failed", "failed", 0),
        ("end=expired,done=1", "expired", 1),
        ("after_ms=1", "completed", 2),
    ],
)
def test_it_ends_as_its_script_says(script: str, status: str, done: int) -> None:
    async def story() -> None:
        up = Asked()
        batch = await up.ended(await up.begun(script, chat(1), chat(2)))
        assert (batch["status"], batch["request_counts"]["completed"]) == (status, done)
        assert len(up.provider.bill) == done
        assert batch[f"{status}_at"] is not None

    run(story())


def test_it_can_be_cancelled_and_stops_with_its_provider() -> None:
    async def story() -> None:
        up = Asked()
        batch = await up.begun("end=never", chat(1))
        other = await up.begun("end=never", chat(1))
        assert (await up.told(b"POST", f"/batches/{batch['id']}/cancel"))["status"] == "cancelling"
        assert (await up.ended(batch))["status"] == "cancelled"
        await up.provider.stop()
        assert other["id"] != batch["id"]

    run(story())


def test_output_may_be_lost_usage_untold_and_acceptance_silent() -> None:
    async def story() -> None:
        up = Asked()
        batch = await up.ended(await up.begun("output=lost,usage=none", chat(1)))
        assert "usage" not in batch
        path = f"/files/{batch['output_file_id']}/content"
        assert (await up.call(b"GET", path))[0] == 404
        with pytest.raises(UpstreamError):
            await up.begun("accept=silent", chat(1))
        assert len((await up.told(b"GET", "/batches"))["data"]) == 2

    run(story())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        (b"GET", "/files/file-x", b"", 404),
        (b"PUT", "/files", b"", 404),
        (b"POST", "/files", b"no form", 400),
        (b"POST", "/batches", b"{}", 400),
        (b"POST", "/batches", b'{"input_file_id":"file-x"}', 400),
        (b"POST", "/batches", b'{"input_file_id":"f","metadata":{"script":"end=soon"}}', 400),
        (b"POST", "/batches", b'{"input_file_id":"f","metadata":{"script":"status=429"}}', 429),
    ],
)
def test_what_it_does_not_know_is_an_error(
    method: bytes, path: str, body: bytes, status: int
) -> None:
    async def story() -> None:
        up = Asked()
        await up.provider.start()
        assert (await up.call(method, path, body))[0] == status

    run(story())


def test_a_script_is_read_from_the_metadata() -> None:
    assert read_script(None) == BatchScript()
    assert read_script({"script": "done=3, end=expired"}) == BatchScript("expired", 3)
    with pytest.raises(ValueError, match="unknown"):
        read_script({"script": "when=now"})
