"""Forms (`multipart/form-data`), read strictly and passed byte for byte but for the model's name.

The delimiter is taken from the body's first line, and the header that goes to the provider is made
from it, so that both read the same parts. What two readers could read differently is refused: a
delimiter that is none, fields that come twice, encodings, folded headers.
"""

import re
from typing import Any

from budgets.value import value
from gateway.errors import ApiError, bad_request

_FIRST_LINE = re.compile(rb"--([A-Za-z0-9'()+_,./:=?-]{1,70})\r\n")
_DISPOSITION = re.compile(
    rb'form-data; ?name="([^"\\\r\n]{1,200})"'
    rb'((?:; ?filename\*?=(?:"(?:[^"\\\r\n]|\\.)*"|[^;"\r\n]+))*)',
    re.IGNORECASE,
)
_PLAIN_TYPES = frozenset({b"text/plain", b"text/plain; charset=utf-8", b"text/plain;charset=utf-8"})
MAX_PARTS = 200
MAX_HEAD_BYTES = 4_096
MAX_FIELD_BYTES = 1_000_000


@value
class File:
    """A file of a form: where its bytes are in the body."""

    field: str
    start: int
    end: int


class Form(dict[str, Any]):
    """The text fields of a form by name, its files, and where the model's name stands."""

    __slots__ = ("delimiter", "files", "model_at")

    def __init__(self, delimiter: bytes) -> None:
        super().__init__()
        self.delimiter = delimiter
        self.files: list[File] = []
        self.model_at = (0, 0)

    @property
    def content_type(self) -> bytes:
        """The header that tells a provider how to read it."""
        return b'multipart/form-data; boundary="%b"' % self.delimiter


def read_form(raw: bytes) -> Form:
    """The form of a body; raise ApiError (400) for what is none or could be read in two ways."""
    first = _FIRST_LINE.match(raw)
    if first is None:
        raise _broken("it must begin with its delimiter (send multipart/form-data)")
    form = Form(first[1])
    mark = b"--" + first[1]
    at = first.end()
    for _ in range(MAX_PARTS):
        end = raw.find(mark, at)
        if end < at + 2 or raw[end - 2 : end] != b"\r\n":
            raise _broken("a part has no end")
        _read_part(form, raw, at, end - 2)
        at = end + len(mark)
        after = raw[at : at + 2]
        if after == b"--":
            if raw[at + 2 :] not in (b"", b"\r\n"):
                raise _broken("something follows its end")
            return form
        if after != b"\r\n":
            raise _broken("its delimiter stands inside a part")
        at += 2
    raise _broken(f"it has more than {MAX_PARTS} parts")


def with_model(raw: bytes, form: Form, upstream_model: str) -> bytes:
    """The same body with another model's name."""
    start, end = form.model_at
    return b"%b%b%b" % (raw[:start], upstream_model.encode(), raw[end:])


def _read_part(form: Form, raw: bytes, start: int, end: int) -> None:
    head_end = raw.find(b"\r\n\r\n", start, min(end, start + MAX_HEAD_BYTES))
    if head_end < 0:
        raise _broken("a part has no headers, or more than 4,096 bytes of them")
    name, is_file, content_type = _read_head(raw[start:head_end])
    start = head_end + 4
    if is_file:
        form.files.append(File(name, start, end))
        return
    if content_type not in (b"", *_PLAIN_TYPES):
        raise _broken(f"the field `{name}` must be plain text in UTF-8")
    if end - start > MAX_FIELD_BYTES:
        raise _broken(f"the field `{name}` is longer than {MAX_FIELD_BYTES} bytes")
    try:
        text = raw[start:end].decode()
    except UnicodeDecodeError:
        raise _broken(f"the field `{name}` must be plain text in UTF-8") from None
    if name.endswith("[]"):
        form.setdefault(name, []).append(text)
        return
    if name in form:
        raise bad_request(f"The form has `{name}` twice.", name, "duplicate_key")
    if name == "model":
        form.model_at = (start, end)
    form[name] = text


def _read_head(head: bytes) -> tuple[str, bool, bytes]:
    """Name, whether it is a file, and content type of a part."""
    found: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        header, colon, content = line.partition(b":")
        header = header.lower()
        if not colon or header in found or header.strip() != header or not header:
            raise _broken("the headers of a part cannot be read")
        found[header] = content.strip()
    disposition = _DISPOSITION.fullmatch(found.get(b"content-disposition", b""))
    if disposition is None:
        raise _broken('a part needs the header `content-disposition: form-data; name="..."`')
    if found.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit"):
        raise _broken("a part has an encoding of its own")
    name = disposition[1].decode("utf-8", "replace")
    return name, bool(disposition[2]), found.get(b"content-type", b"").lower()


def _broken(why: str) -> ApiError:
    return bad_request(f"The form cannot be read: {why}.", "body", "invalid_form")


def number_in(form: Form, field: str) -> int | None:
    """A whole number of at least 1; None where there is none; raise ApiError (400)."""
    text = form.get(field)
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise bad_request(f"`{field}` must be a whole number of at least 1.", field)
    return int(text)


def flag_in(form: Form, field: str) -> bool:
    """A field that is `true` or not; raise ApiError (400) for anything but a truth value."""
    text = form.get(field)
    if text in (None, "false", "False", "0"):
        return False
    if text in ("true", "True", "1"):
        return True
    raise bad_request(f"`{field}` must be true or false.", field, "invalid_type")
