"""Providers that speak no dialect of ours, reached through litellm: Bedrock, Vertex, Cohere, ...

Only this file imports litellm, and only for a provider that is configured: the import takes seconds
and much memory, so it happens on a thread when the provider starts. litellm translates and sends,
nothing else: retries, callbacks, caches, prices, token counting and silent omissions are off. It is
never given a field that it might take for a setting of its own.
"""

import asyncio
import importlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.providers.litellm_contents import Losses, RequestFault, carried, written_for
from gateway.providers.litellm_errors import error_body, fault_kind, told_by
from gateway.providers.litellm_request import arguments_of, usage_told
from gateway.providers.port import (
    RawHeaders,
    Timeouts,
    UpstreamCall,
    UpstreamError,
    UpstreamFault,
    UpstreamReply,
)
from gateway.providers.whole_reply import WholeReply, dropped_header, rest_of

LOG = logging.getLogger("weir.litellm")
JSON_TYPE = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
DONE = b"data: [DONE]\n\n"
# Chunks that wait for their reader, at most.
QUEUE_CHUNKS = 64
# litellm's own switches for what it would otherwise fetch: when it is imported, and for a request.
IMPORT_SWITCHES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0",
}
# Vendors that are asked in chat completions, beside those that litellm lists.
SPEAK_CHAT = frozenset({"azure", "custom_openai", "databricks", "openai", "openrouter", "watsonx"})


@dataclass(frozen=True, slots=True)
class LiteLLMSettings:
    """litellm's name of the provider, and what it needs to sign in there."""

    vendor: str
    api_key: str | None = field(default=None, repr=False)
    api_base: str | None = None
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict, repr=False)
    drop_unsupported: bool = False
    key_required: bool = False


def load_litellm() -> Any:
    """Import litellm, with everything off that is not translation."""
    for name, switch in IMPORT_SWITCHES.items():
        os.environ[name] = switch
    litellm: Any = importlib.import_module("litellm")
    litellm.drop_params = False
    litellm.modify_params = False
    litellm.num_retries = 0
    litellm.cache = None
    litellm.suppress_debug_info = True
    litellm.disable_streaming_logging = True
    # A count of litellm's own would pass for the provider's report.
    litellm.disable_token_counter = True
    for name in ("callbacks", "success_callback", "failure_callback", "input_callback"):
        setattr(litellm, name, [])
    return litellm


class LiteLLMProvider:
    """Sends chat completions through litellm (`Provider`)."""

    def __init__(
        self, name: str, settings: LiteLLMSettings, load: Callable[[], Any] = load_litellm
    ) -> None:
        self._name = name
        self._settings = settings
        self._load = load
        self._litellm: Any = None
        self._loading: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"LiteLLMProvider({self._name!r}, {self._settings.vendor!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def ready(self) -> bool:
        """Whether litellm is imported, and a key is there where one is needed."""
        missing = self._settings.key_required and self._settings.api_key is None
        return self._litellm is not None and not missing

    async def start(self) -> None:
        """Begin to import litellm; `ready` says when that is done."""
        self._loading = asyncio.create_task(self._import())

    async def wait_ready(self) -> bool:
        """Whether litellm could be imported, once that is known."""
        if self._loading is not None:
            await asyncio.shield(self._loading)
        return self.ready

    async def stop(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            with suppress(asyncio.CancelledError):
                await self._loading
        self._loading = self._litellm = None

    async def open(self, call: UpstreamCall) -> UpstreamReply:
        """Send the call and wait for its answer to begin; raise UpstreamError."""
        litellm = self._litellm
        if litellm is None:
            raise UpstreamError(UpstreamFault.CONNECT, f"{self._name}: litellm is not loaded yet")
        if call.path.partition("?")[0] != "/chat/completions":
            body = error_body(f"no such path: {call.path}", "invalid_request_error")
            return WholeReply(404, [JSON_TYPE], body)
        losses = Losses(may_drop=self._settings.drop_unsupported)
        try:
            arguments = arguments_of(call.body, self._supported(litellm), losses)
            arguments = self._carried(litellm, arguments, losses)
        except RequestFault as fault:
            body = error_body(str(fault), "invalid_request_error", fault.param, fault.code)
            return WholeReply(400, [JSON_TYPE, (b"x-should-retry", b"false")], body)
        due = asyncio.get_running_loop().time() + call.timeouts.total_s
        try:
            answer = await self._send(litellm, arguments, call.timeouts)
        except Exception as error:
            return self._refused(error)
        marked = dropped_header(losses.dropped)
        if arguments.get("stream"):
            return _StreamReply(self, answer, [EVENT_STREAM, *marked], call.timeouts.idle_s, due)
        return WholeReply(200, [JSON_TYPE, *marked], orjson.dumps(_whole(answer), default=str))

    def fault_of(self, error: Exception) -> UpstreamError:
        """An error of litellm's, or of what is below it, by how far the call got.

        The message may quote a request, the type cannot.
        """
        return UpstreamError(fault_kind(error), f"{self._name}: {type(error).__name__}")

    async def _import(self) -> None:
        try:
            self._litellm = await asyncio.to_thread(self._load)
        except ImportError as error:
            LOG.error("provider %s stays unavailable: %s", self._name, error)

    def _supported(self, litellm: Any) -> Callable[[str], frozenset[str] | None]:
        """Asks which parameters of OpenAI's a model takes; None where litellm does not know."""

        def ask(model: str) -> frozenset[str] | None:
            found = litellm.get_supported_openai_params(
                model=model, custom_llm_provider=self._settings.vendor
            )
            return None if found is None else frozenset(found)

        return ask

    def _carried(
        self, litellm: Any, arguments: Mapping[str, Any], losses: Losses
    ) -> dict[str, Any]:
        vendor = self._settings.vendor
        speaks_chat = vendor in SPEAK_CHAT or vendor in litellm.openai_compatible_providers
        written = written_for(vendor, arguments["model"], speaks_chat=speaks_chat)
        return carried(arguments, written, losses, takes_addresses=vendor == "anthropic")

    async def _send(self, litellm: Any, arguments: Mapping[str, Any], timeouts: Timeouts) -> Any:
        settings = self._settings
        limit_s = min(timeouts.connect_s + timeouts.first_byte_s, timeouts.total_s)
        sign_in = {"api_key": settings.api_key, "api_base": settings.api_base}
        calling = litellm.acompletion(
            **{
                **settings.options,
                **{name: given for name, given in sign_in.items() if given is not None},
                **arguments,
                "model": f"{settings.vendor}/{arguments['model']}",
                "num_retries": 0,
                "max_retries": 0,
                "caching": False,
                # Tools are the provider's to read: litellm would call servers of its own for some.
                "_skip_mcp_handler": True,
                "drop_params": False,
                "timeout": timeouts.total_s,
            }
        )
        try:
            async with asyncio.timeout(limit_s):
                return await calling
        except TimeoutError as error:
            kind = UpstreamFault.FIRST_BYTE_TIMEOUT
            if timeouts.total_s <= limit_s:
                kind = UpstreamFault.TOTAL_TIMEOUT
            raise UpstreamError(kind, f"{self._name}: no answer in time") from error

    def _refused(self, error: Exception) -> UpstreamReply:
        """The response that an error stands for; raise UpstreamError where it stands for none."""
        if isinstance(error, UpstreamError):
            raise error
        told = told_by(error)
        if told is None:
            raise self.fault_of(error) from error
        message = told.message
        if self._settings.api_key:
            message = message.replace(self._settings.api_key, "***")
        headers = [JSON_TYPE]
        if told.retry_after:
            headers.append((b"retry-after", told.retry_after.encode()))
        return WholeReply(
            told.status, headers, error_body(message, told.kind, told.param, told.code)
        )


class _StreamReply:
    """A stream of litellm's as server-sent events (`UpstreamReply`)."""

    def __init__(
        self,
        provider: LiteLLMProvider,
        stream: Any,
        headers: RawHeaders,
        idle_s: float,
        total_due: float,
    ) -> None:
        self._provider = provider
        self._stream = stream
        self._headers = headers
        self._idle_s = idle_s
        self._total_due = total_due
        self._ended = self._closed = False
        self._queue: asyncio.Queue[bytes | UpstreamError] = asyncio.Queue(QUEUE_CHUNKS)
        self._pump = asyncio.create_task(self._run())

    @property
    def status(self) -> int:
        return 200

    @property
    def headers(self) -> RawHeaders:
        return self._headers

    async def read_some(self) -> bytes:
        """The next event, `b""` after the last; raise UpstreamError."""
        if self._ended:
            return b""
        if self._closed and self._queue.empty():
            raise UpstreamError(UpstreamFault.BROKEN, f"{self._provider.name}: was let go")
        idle_due = asyncio.get_running_loop().time() + self._idle_s
        try:
            async with asyncio.timeout_at(min(idle_due, self._total_due)):
                found = await self._queue.get()
        except TimeoutError as error:
            self.close()
            kind = UpstreamFault.IDLE_TIMEOUT
            if self._total_due <= idle_due:
                kind = UpstreamFault.TOTAL_TIMEOUT
            raise UpstreamError(kind, f"{self._provider.name}: the stream fell silent") from error
        if isinstance(found, UpstreamError):
            self._closed = True
            raise found
        self._ended = not found
        return found

    async def read(self) -> bytes:
        """The (rest of the) stream; raise UpstreamError."""
        return await rest_of(self)

    def close(self) -> None:
        """Let go of the provider, and wake whoever reads."""
        if self._ended or self._closed:
            return
        self._closed = True
        self._pump.cancel()
        while not self._queue.empty():
            self._queue.get_nowait()
        name = self._provider.name
        self._queue.put_nowait(UpstreamError(UpstreamFault.BROKEN, f"{name}: was let go"))

    async def _run(self) -> None:
        """Move chunks until the end; every end of the stream ends the provider's."""
        try:
            async for event in self._events():
                await self._queue.put(event)
            await self._queue.put(b"")
        except UpstreamError as error:
            await self._queue.put(error)
        except Exception as error:
            await self._queue.put(self._provider.fault_of(error))
        finally:
            await self._stream.aclose()

    async def _events(self) -> AsyncIterator[bytes]:
        generated = False
        async for chunk in self._stream:
            body = _plain(chunk)
            choices = body.get("choices") or []
            generated = generated or any(_generates(choice) for choice in choices)
            if any(choice.get("finish_reason") for choice in choices) and _is_torn(self._stream):
                name = self._provider.name
                raise UpstreamError(UpstreamFault.BROKEN, f"{name}: ended before its end")
            usage = usage_told(body.pop("usage", None), generated)
            if usage is not None:
                body["usage"] = usage
            elif not choices:
                continue
            yield b"data: " + orjson.dumps(body, default=str) + b"\n\n"
        yield DONE


def _plain(answer: Any) -> dict[str, Any]:
    """litellm's object as JSON, without the fields that say nothing."""
    body: dict[str, Any] = answer.model_dump(exclude_none=True)
    for choice in body.get("choices") or ():
        choice.setdefault("finish_reason", None)
    return body


def _whole(answer: Any) -> dict[str, Any]:
    body = _plain(answer)
    generated = any(_generates(choice) for choice in body.get("choices") or ())
    usage = usage_told(body.pop("usage", None), generated)
    return body if usage is None else {**body, "usage": usage}


def _generates(choice: Mapping[str, Any]) -> bool:
    said = choice.get("delta") or choice.get("message") or {}
    return any(said.get(name) for name in ("content", "reasoning_content", "tool_calls"))


def _is_torn(stream: Any) -> bool:
    """Whether litellm made the end up: the provider's stream had none."""
    names = ("received_finish_reason", "intermittent_finish_reason")
    return all(getattr(stream, name, "") is None for name in names)
