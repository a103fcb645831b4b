"""`/v1/files`: what a team uploaded, and what its batches wrote. Free, and each team's own."""

import logging
from contextlib import suppress

from gateway.batches.errors import file_too_large, upload_too_slow
from gateway.batches.kept import FileRecord
from gateway.batches.kit import object_in, passed, path_of, read_limited
from gateway.batches.lists import page_of, read_wish
from gateway.batches.places import PROVIDER_HEADER
from gateway.batches.uploads import Upload, read_upload
from gateway.clock import now_ms
from gateway.errors import ApiError
from gateway.providers.port import UpstreamError
from gateway.registries.objects import ObjectKind, OwnedObject, may_be_an_id
from gateway.registries.port import RegistryError
from gateway.response import (
    HangUpWatch,
    Receive,
    Scope,
    Send,
    end_stream,
    read_body_within,
    relayed_headers,
    send_part,
    start_stream,
)
from gateway.routes.kept_objects import KeptObjects, asked, last_part, send_json, send_told

LOG = logging.getLogger("weir.batches")
PATH = "/v1/files"
CONTENT = "/content"
DEFAULT_PAGE = MOST = 10_000


class FileRoutes(KeptObjects):
    """Passes files between a team and the provider that keeps them."""

    async def create(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/files`: keep a file; one for a batch is checked line by line first."""
        await self.answered(self._create(scope, receive, send), send)

    async def list(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/files`: the team's own, from the registry."""
        await self.answered(self._list(scope, send), send)

    async def show(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/files/{id}`."""
        await self.answered(self._pass(scope, send, b"GET"), send)

    async def delete(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`DELETE /v1/files/{id}`."""
        await self.answered(self._pass(scope, send, b"DELETE"), send)

    async def content(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/files/{id}/content`: as it streams."""
        await self.answered(self._content(scope, receive, send), send)

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal, kit, headers = self.caller(scope), self.kit, dict(scope["headers"])
        named = headers.get(PROVIDER_HEADER, b"").decode("latin-1")
        async with kit.places:
            raw = await self._body(scope, receive)
            upload = await read_upload(kit, principal.team, raw, named)
            told = [*passed(scope["headers"]), (b"content-type", upload.content_type)]
            work = kit.ask(upload.provider, b"POST", "/files", upload.body, told)
            reply = await asked(work, upload.provider)
        body = await asked(read_limited(reply), upload.provider)
        if reply.status < 300:
            await self._claim(principal.team, upload, body)
        await send_told(send, reply, body)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        section = self.kit.section
        limit_bytes, limit_s = section.max_file_bytes, section.upload_timeout_s
        try:
            return await read_body_within(scope, receive, limit_bytes, limit_s)
        except ApiError as error:
            if error.status == 413:
                raise file_too_large(limit_bytes) from error
            raise upload_too_slow(limit_s) from error

    async def _claim(self, team: str, upload: Upload, body: bytes) -> None:
        """Write down whose the file is, before anybody is told of it; raise RegistryError."""
        told = object_in(body)
        file_id = None if told is None else told.get("id")
        if not isinstance(file_id, str) or not may_be_an_id(file_id):
            raise _broken(upload.provider, "took the file and did not say by which id")
        record = FileRecord(upload.purpose, body, upload.bound).to_text()
        file = OwnedObject(ObjectKind.FILE, file_id, team, upload.provider, now_ms(), record)
        try:
            stands = await self.kit.objects.claim(file)
        except RegistryError:
            LOG.error("file %s: nobody could be told whose it is; it is deleted", file_id)
            with suppress(UpstreamError):
                path = path_of("files", file_id)
                (await self.kit.ask(upload.provider, b"DELETE", path)).close()
            raise
        if stands.owner != team:
            raise _broken(upload.provider, "took the file under an id of another team")
        if stands != file:
            await self.kit.objects.update(file)

    async def _list(self, scope: Scope, send: Send) -> None:
        principal = self.caller(scope)
        wish = read_wish(scope.get("query_string", b""), DEFAULT_PAGE, MOST)
        page = await page_of(self.kit.objects, ObjectKind.FILE, principal.team, wish, _told)
        await send_json(send, page)

    async def _pass(self, scope: Scope, send: Send, method: bytes) -> None:
        principal, file_id = self.caller(scope), last_part(scope, PATH)
        file = await self.owned(principal, ObjectKind.FILE, file_id)
        headers = passed(scope["headers"])
        work = self.kit.ask(file.provider, method, path_of("files", file_id), headers=headers)
        reply = await asked(work, file.provider)
        body = await asked(read_limited(reply), file.provider)
        if reply.status == 404 or (method == b"DELETE" and reply.status < 300):
            await self.kit.objects.forget(ObjectKind.FILE, file_id, principal.team)
        await send_told(send, reply, body)

    async def _content(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal, file_id = self.caller(scope), last_part(scope, PATH, CONTENT)
        file = await self.owned(principal, ObjectKind.FILE, file_id)
        path = path_of("files", file_id, "content")
        work = self.kit.ask(file.provider, b"GET", path, headers=passed(scope["headers"]))
        reply = await asked(work, file.provider)
        await start_stream(send, reply.status, relayed_headers(reply.headers, ()))
        with HangUpWatch(receive, reply.close) as watch:
            try:
                while part := await reply.read_some():
                    await send_part(send, part)
            except UpstreamError as error:
                if not watch.gone:
                    LOG.warning("file %s: %s", file_id, error)
                return  # the client sees that the answer has no end
            finally:
                reply.close()
        await end_stream(send, b"")


def _broken(provider: str, what: str) -> ApiError:
    message = f"Provider {provider} {what}."
    return ApiError(502, "upstream_broken", message, kind="upstream_error", retry=False)


def _told(one: OwnedObject) -> tuple[str, bytes]:
    try:
        record = FileRecord.from_text(one.record)
    except ValueError as error:
        raise RegistryError(f"file {one.object_id}: {error}") from error
    return record.purpose, record.told
