"""Files and batches of the scripted provider, as OpenAI words them; in memory, gone with it.

A batch asks each of its lines of the provider itself, so its bill has them. How it goes is written
in its metadata, as `{"script": "done=3,end=expired"}`:

    end=completed       or `failed` (before any line), `expired`, `cancelled`, `never`
    done=3              so many lines are answered; the others are not reached
    after_ms=500        it ends so long after its last line
    usage=none          the batch does not tell its usage, only its lines do
    usage=wrong         it tells one token too many
    output=lost         the output file cannot be read
    status=429          it is not taken, with an error of this status
    accept=silent       it is taken, and the connection breaks before that is said
    accept=late         it is taken, and that is said after an hour
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from budgets.usage import TokenUsage
from gateway.errors import ApiError
from gateway.forms import read_form
from gateway.providers.port import UpstreamCall, UpstreamError, UpstreamFault
from gateway.providers.scripted_wire import openai_error
from gateway.providers.whole_reply import WholeReply

_INVALID = "invalid_request_error"
_JSON = (b"content-type", b"application/json")
_LINES = (b"content-type", b"application/octet-stream")
_ENDS = ("completed", "failed", "expired", "cancelled", "never")
WINDOW_S = 86_400
LATE_S = 3_600

# Asks one line's request of the provider: status and body.
AskLine = Callable[[str, bytes, UpstreamCall], Awaitable[tuple[int, bytes]]]


@dataclass(frozen=True, slots=True)
class BatchScript:
    """How one batch goes."""

    end: str = "completed"
    done: int | None = None
    after_ms: int = 0
    usage: str = "auto"
    output: str = "kept"
    status: int = 200
    accept: str = "told"


@dataclass(slots=True)
class _File:
    told: dict[str, Any]
    content: bytes
    is_lost: bool = False


@dataclass(slots=True)
class _Batch:
    told: dict[str, Any]
    script: BatchScript
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[None] | None = None


def read_script(metadata: object) -> BatchScript:
    """The script in a batch's metadata; raise ValueError for what is none."""
    text = metadata.get("script", "") if isinstance(metadata, dict) else ""
    values: dict[str, Any] = {}
    for item in str(text).split(","):
        key, _, value = item.strip().partition("=")
        if key in ("done", "after_ms", "status"):
            values[key] = int(value)
        elif key in BatchScript.__slots__:
            values[key] = value
        elif key:
            raise ValueError(f"script: {key} is unknown; one of {', '.join(BatchScript.__slots__)}")
    script = BatchScript(**values)
    if script.end not in _ENDS:
        raise ValueError(f"script: end must be one of {', '.join(_ENDS)}")
    return script


class ScriptedBatches:
    """Answers the calls for files and batches."""

    def __init__(self, name: str, ask_line: AskLine) -> None:
        self._name = name
        self._ask_line = ask_line
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self._numbers = count(1)
        # Whoever remembers an id from an earlier process must not find another object under it.
        self._life = secrets.token_hex(4)

    async def stop(self) -> None:
        """End the batches that are under way."""
        works = [batch.work for batch in self._batches.values() if batch.work is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def answers(self, call: UpstreamCall) -> bool:
        """Whether a call is for files or batches."""
        return call.path.startswith(("/files", "/batches"))

    async def answer(self, call: UpstreamCall) -> WholeReply:
        """Answer a call; raise UpstreamError where a script says so."""
        kind, *rest = call.path.partition("?")[0].strip("/").split("/")
        match (kind, call.method, rest):
            case ("files", b"POST", []):
                return self._keep(call)
            case ("files", b"GET", []):
                return _list([file.told for file in self._files.values()])
            case ("files", b"GET" | b"DELETE", [file_id, *more]) if file_id in self._files:
                return self._file(call.method, file_id, more)
            case ("batches", b"POST", []):
                return await self._begin(call)
            case ("batches", b"GET", []):
                return _list([batch.told for batch in self._batches.values()])
            case ("batches", b"GET", [batch_id]) if batch_id in self._batches:
                return _told(self._batches[batch_id].told)
            case ("batches", b"POST", [batch_id, "cancel"]) if batch_id in self._batches:
                return self._cancel(self._batches[batch_id])
        return _error(404, f"No such object: {call.path}")

    # -- files ------------------------------------------------------------------------------

    def _keep(self, call: UpstreamCall) -> WholeReply:
        try:
            form = read_form(call.body)
        except ApiError as error:
            return _error(400, error.message)
        if len(form.files) != 1:
            return _error(400, "file: there must be one")
        [file] = form.files
        content = call.body[file.start : file.end]
        return _told(self._new_file(content, str(form.get("purpose"))).told)

    def _new_file(self, content: bytes, purpose: str) -> _File:
        told = {
            "id": f"file-{self._name}-{self._life}-{next(self._numbers)}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "expires_at": None,
            "filename": f"{purpose}.jsonl",
            "purpose": purpose,
            "status": "processed",
        }
        file = self._files[str(told["id"])] = _File(told, content)
        return file

    def _file(self, method: bytes, file_id: str, more: list[str]) -> WholeReply:
        file = self._files[file_id]
        if method == b"DELETE" and not more:
            del self._files[file_id]
            return _told({"id": file_id, "object": "file", "deleted": True})
        if more == ["content"] and not file.is_lost:
            return WholeReply(200, [_LINES], file.content)
        return _told(file.told) if not more else _error(404, "No such content")

    # -- batches ----------------------------------------------------------------------------

    async def _begin(self, call: UpstreamCall) -> WholeReply:
        try:
            asked = orjson.loads(call.body)
            script = read_script(asked.get("metadata"))
            file = self._files.get(asked["input_file_id"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _error(400, f"not a batch: {error}")
        if script.status != 200:
            return _error(script.status, f"scripted status {script.status}")
        if file is None:
            return _error(400, f"No such File object: {asked['input_file_id']}")
        told = _new_batch(f"batch_{self._name}-{self._life}-{next(self._numbers)}", asked)
        batch = self._batches[told["id"]] = _Batch(told, script)
        batch.work = asyncio.get_running_loop().create_task(self._work_off(batch, file, call))
        if script.accept == "silent":
            raise UpstreamError(UpstreamFault.BROKEN, "scripted: the connection broke")
        if script.accept == "late":
            await asyncio.sleep(LATE_S)
        return _told(told)

    def _cancel(self, batch: _Batch) -> WholeReply:
        if batch.told["status"] in ("validating", "in_progress"):
            batch.told |= {"status": "cancelling", "cancelling_at": int(time.time())}
            batch.cancelled.set()
        return _told(batch.told)

    async def _work_off(self, batch: _Batch, file: _File, call: UpstreamCall) -> None:
        script, told = batch.script, batch.told
        lines = [orjson.loads(line) for line in file.content.splitlines() if line.strip()]
        counts = {"total": len(lines), "completed": 0, "failed": 0}
        told |= {"status": "in_progress", "in_progress_at": int(time.time())}
        told["request_counts"] = counts
        answered: list[bytes] = []
        refused: list[bytes] = []
        used = TokenUsage()
        if script.end != "failed":
            for line in lines[: script.done]:
                if batch.cancelled.is_set():
                    break
                status, body = await self._ask_line(line["url"], orjson.dumps(line["body"]), call)
                counts["completed" if status == 200 else "failed"] += 1
                (answered if status == 200 else refused).append(_answer(line, status, body))
                used = used.plus(_usage_of(body))
        if script.end == "never":
            await batch.cancelled.wait()
        elif script.after_ms:
            try:
                async with asyncio.timeout(script.after_ms / 1_000):
                    await batch.cancelled.wait()
            except TimeoutError:
                pass
        end = "cancelled" if batch.cancelled.is_set() else script.end
        if end in ("expired", "cancelled"):
            reached = counts["completed"] + counts["failed"]
            refused += [_unreached(line, end) for line in lines[reached:]]
        self._end(batch, end, answered, refused, used)

    def _end(
        self,
        batch: _Batch,
        end: str,
        answered: list[bytes],
        refused: list[bytes],
        used: TokenUsage,
    ) -> None:
        """Write the files of a batch, then say that it has ended."""
        told, script = batch.told, batch.script
        for name, lines in (("output_file_id", answered), ("error_file_id", refused)):
            if lines:
                file = self._new_file(b"\n".join(lines) + b"\n", "batch_output")
                file.is_lost = script.output == "lost" and name == "output_file_id"
                told[name] = file.told["id"]
        if end == "failed":
            fault = {"code": "scripted", "message": "as told", "line": 1, "param": None}
            told["errors"] = {"object": "list", "data": [fault]}
        if script.usage != "none":
            told["usage"] = _usage(used, 1 if script.usage == "wrong" else 0)
        told |= {"status": end, f"{end}_at": int(time.time())}


def _new_batch(batch_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    now_s = int(time.time())
    moments = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling")
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": asked.get("endpoint"),
        "errors": None,
        "input_file_id": asked["input_file_id"],
        "completion_window": asked.get("completion_window"),
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now_s,
        "expires_at": now_s + WINDOW_S,
        **{f"{moment}_at": None for moment in (*moments, "cancelled")},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": asked.get("metadata"),
    }


def _answer(line: Mapping[str, Any], status: int, body: bytes) -> bytes:
    response = {
        "status_code": status,
        "request_id": f"req-{line['custom_id']}",
        "body": orjson.Fragment(body),
    }
    return orjson.dumps(
        {
            "id": f"batch_req_{line['custom_id']}",
            "custom_id": line["custom_id"],
            "response": response,
            "error": None,
        }
    )


def _unreached(line: Mapping[str, Any], end: str) -> bytes:
    error = {"code": f"batch_{end}", "message": "This request was not executed."}
    told = {"custom_id": line["custom_id"], "response": None, "error": error}
    return orjson.dumps({"id": f"batch_req_{line['custom_id']}", **told})


def _usage_of(body: bytes) -> TokenUsage:
    """What the answer of a line says it used, by either pair of names."""
    report = orjson.loads(body).get("usage") or {}
    tokens_in = report.get("prompt_tokens", report.get("input_tokens", 0))
    return TokenUsage(
        fresh=tokens_in, output=report.get("completion_tokens", report.get("output_tokens", 0))
    )


def _usage(used: TokenUsage, more: int) -> dict[str, Any]:
    return {
        "input_tokens": used.fresh + more,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used.fresh + more + used.output,
    }


def _told(told: Mapping[str, Any]) -> WholeReply:
    return WholeReply(200, [_JSON], orjson.dumps(told))


def _list(found: list[dict[str, Any]]) -> WholeReply:
    return _told({"object": "list", "data": found, "has_more": False})


def _error(status: int, message: str) -> WholeReply:
    return WholeReply(status, [_JSON], openai_error(status, message, _INVALID))
