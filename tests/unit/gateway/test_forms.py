"""A form is read strictly, and passes byte for byte but for the model's name (gateway.forms)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ApiError
from gateway.forms import Form, flag_in, number_in, read_form, with_model
from tests.unit.gateway.dialects.requests_made import DELIMITER, form

FIELDS = st.dictionaries(
    st.text("abcdefgh_", min_size=1, max_size=8), st.text(max_size=20), max_size=4
)


@given(fields=FIELDS, sound=st.binary(max_size=200), model=st.text("abz-.", min_size=1))
def test_only_the_model_s_name_changes(fields: dict[str, str], sound: bytes, model: str) -> None:
    raw = form({**fields, "model": "m"}, ("file", sound))
    read = read_form(raw)
    assert read == {**fields, "model": "m"}
    (file,) = read.files
    assert (file.field, raw[file.start : file.end]) == ("file", sound)
    assert with_model(raw, read, model) == form({**fields, "model": model}, ("file", sound))
    assert read.content_type == b'multipart/form-data; boundary="%b"' % DELIMITER


def part(head: bytes, content: bytes = b"x") -> bytes:
    return b"--d\r\n%b\r\n\r\n%b\r\n--d--\r\n" % (head, content)


NAMED = b'Content-Disposition: form-data; name="model"'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b'{"model": "m"}',
        b"--d\r\n",
        b"preamble\r\n" + part(NAMED),
        part(NAMED) + b"--d\r\n",
        part(NAMED).replace(b"\r\n", b"\n"),
        part(NAMED)[:-6],
        part(b"Content-Type: text/plain"),
        part(b'Content-Disposition: form-data; name="a"; name="model"'),
        part(b"Content-Disposition: form-data; name=model"),
        part(b'Content-Disposition: form-data; name*="model"'),
        part(b'Content-Disposition: attachment; name="model"'),
        part(NAMED + b"\r\nContent-Transfer-Encoding: base64"),
        part(NAMED + b"\r\nContent-Type: text/plain; charset=utf-16"),
        part(NAMED + b'\r\nContent-Disposition: form-data; name="b"'),
        part(b'Content-Disposition: form-data;\r\n name="model"'),
        part(b"X: " + b"y" * 5_000 + b"\r\n" + NAMED),
        part(NAMED, b"\xff"),
        part(NAMED, b"a--d"),
        part(NAMED, b"a\r\n--dd"),
        part(NAMED, b"y" * 1_000_001),
        b"--d\r\n" + (NAMED + b"[]\r\n\r\nx\r\n--d\r\n") * 201,
    ],
)
def test_what_two_readers_could_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        read_form(raw)
    assert (caught.value.status, caught.value.code) == (400, "invalid_form")


def test_a_field_that_comes_twice_is_refused_and_a_list_is_not() -> None:
    twice = b"--d\r\n" + NAMED + b"\r\n\r\na\r\n--d\r\n" + NAMED + b"\r\n\r\nb\r\n--d--"
    with pytest.raises(ApiError, match="twice"):
        read_form(twice)
    listed = read_form(twice.replace(b'"model"', b'"kinds[]"'))
    assert listed == {"kinds[]": ["a", "b"]}


def filled(**fields: str) -> Form:
    return read_form(form(fields))


def test_numbers_and_flags_are_read_or_refused() -> None:
    assert (number_in(filled(n="2"), "n"), number_in(filled(a="x"), "n")) == (2, None)
    assert (flag_in(filled(stream="true"), "stream"), flag_in(filled(a="x"), "stream")) == (
        True,
        False,
    )
    for bad in ("0", "-1", "1.5", "9" * 12, ""):
        with pytest.raises(ApiError, match="whole number"):
            number_in(filled(n=bad), "n")
    with pytest.raises(ApiError, match="true or false"):
        flag_in(filled(stream="maybe"), "stream")


@pytest.mark.parametrize(
    "disposition",
    [
        b'form-data; name="file"; filename="a \\"b\\".wav"',
        b'form-data; name="file"; filename="a.wav"; filename*=UTF-8\'\'%C3%A4.wav',
        b'form-data;name="file";filename="a.wav"',
    ],
)
def test_files_are_named_as_clients_name_them(disposition: bytes) -> None:
    read = read_form(part(b"Content-Disposition: " + disposition))
    assert [file.field for file in read.files] == ["file"]
