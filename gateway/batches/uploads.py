"""An upload: read as the form it is, and checked line by line where it is for a batch."""

import asyncio

from budgets.value import value
from gateway.batches.bounding import FileBound, ReadFile, Terms, bound_file
from gateway.batches.kit import Kit
from gateway.batches.lines import read_line, spans
from gateway.batches.places import named_provider, only_provider, place_of, terms_of
from gateway.errors import bad_request
from gateway.forms import File, Form, read_form
from gateway.ownership import Named

BATCH_PURPOSE = "batch"


@value
class Upload:
    """What goes to which provider; `bound` is what the lines of a batch can cost."""

    provider: str
    purpose: str
    body: bytes
    content_type: bytes
    bound: FileBound | None


async def read_upload(kit: Kit, team: str, raw: bytes, provider: str) -> Upload:
    """The upload of a team; `provider` is named by the caller or empty.

    Raise ApiError: 400, 404 where a line names a file of another team, 503 where nobody can say.
    """
    form = await asyncio.to_thread(read_form, raw)
    purpose, file = _purpose(form), _file(form)
    provider = named_provider(kit, provider)
    if purpose != BATCH_PURPOSE:
        return Upload(only_provider(kit, provider), purpose, raw, form.content_type, None)
    terms = await _terms(kit, raw, file, provider)
    read = await asyncio.to_thread(bound_file, raw, file.start, file.end, terms)
    await kit.desk.owners.vouch(team, Named("", "", tuple(read.named)))
    body = _with_pieces(raw, file, read)
    return Upload(terms.card.provider, purpose, body, form.content_type, read.bound)


async def _terms(kit: Kit, raw: bytes, file: File, provider: str) -> Terms:
    """The first line names the model."""
    number, start, end = next(spans(raw, file.start, file.end))
    model = read_line(number, raw[start:end]).request.model
    return await terms_of(kit, place_of(kit, model, provider), model)


def _purpose(form: Form) -> str:
    purpose = form.get("purpose")
    if not isinstance(purpose, str) or not purpose:
        raise bad_request(
            '`purpose` is missing: say what the file is for, such as "batch".',
            "purpose",
            "missing_required_parameter",
        )
    return purpose


def _file(form: Form) -> File:
    found = [one for one in form.files if one.field == "file"]
    if len(found) != 1 or len(form.files) != 1:
        raise bad_request(
            "The form must hold one file, in the field `file`.",
            "file",
            "missing_required_parameter",
        )
    return found[0]


def _with_pieces(raw: bytes, file: File, read: ReadFile) -> bytes:
    if not read.pieces:
        return raw
    return b"".join((raw[: file.start], *read.pieces, raw[file.end :]))
