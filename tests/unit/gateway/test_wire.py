"""A request body is read strictly, and only single values of it are ever changed."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ApiError
from gateway.wire import asks_for_an_hour, read_chat_request, splice, upstream_body

MESSAGES = '"messages":[{"role":"user","content":"Hi"}]'


def read(text: str | bytes):
    return read_chat_request(text if isinstance(text, bytes) else text.encode())


def refusal(text: str | bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ("{", "body", "invalid_json"),
        ("", "body", "invalid_json"),
        (b"\xff\xfe", "body", "invalid_json"),
        ("[]", "body", "invalid_json"),
        ("{" + MESSAGES + "}", "model", "missing_required_parameter"),
        ('{"model":7,' + MESSAGES + "}", "model", "invalid_type"),
        ('{"model":"",' + MESSAGES + "}", "model", "invalid_type"),
        ('{"model":"m"}', "messages", "missing_required_parameter"),
        ('{"model":"m","messages":[]}', "messages", "invalid_value"),
        ('{"model":"m","messages":"hi"}', "messages", "invalid_value"),
        ('{"model":"m","messages":["hi"]}', "messages[0]", "invalid_type"),
        ('{"model":"m","messages":[{}]}', "messages[0].role", "missing_required_parameter"),
        ('{"model":"m","messages":[{"role":1}]}', "messages[0].role", "invalid_type"),
        ('{"model":"m","stream":"yes",' + MESSAGES + "}", "stream", "invalid_type"),
        ('{"model":"m","stream_options":1,' + MESSAGES + "}", "stream_options", "invalid_type"),
        ('{"model":"m","n":0,' + MESSAGES + "}", "n", "invalid_value"),
        ('{"model":"m","n":true,' + MESSAGES + "}", "n", "invalid_value"),
        ('{"model":"m","max_tokens":-5,' + MESSAGES + "}", "max_tokens", "invalid_value"),
        ('{"model":"m","max_tokens":1.5,' + MESSAGES + "}", "max_tokens", "invalid_value"),
        ('{"model":"m","max_completion_tokens":"9",' + MESSAGES + "}",
         "max_completion_tokens", "invalid_value"),
        ('{"model":"m","n_predict":-1,' + MESSAGES + "}", "n_predict", "unsupported_parameter"),
        ('{"model":"m","n_cmpl":5,' + MESSAGES + "}", "n_cmpl", "unsupported_parameter"),
        ('{"model":"m","model":"n",' + MESSAGES + "}", "model", "duplicate_key"),
        ('{"model":"m","messages":[{"role":"user","role":"system","content":""}]}',
         "role", "duplicate_key"),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_with_the_field_at_fault(body, param, code):
    error = refusal(body)
    assert (error.status, error.param, error.code) == (400, param, code)
    shape = orjson.loads(error.body())["error"]
    assert shape["param"] == param
    assert shape["type"] == "invalid_request_error"
    assert shape["message"]


@pytest.mark.parametrize(
    "disguise",
    [
        '{"model":"a","mod\\u0065l":"b",' + MESSAGES + "}",
        '{"model" :"a","model":"b",' + MESSAGES + "}",
        '{"model":"a","model":"b","x\\\\":1,' + MESSAGES + "}",
        '{"model":"a","x":":","model" : "b",' + MESSAGES + "}",
    ],
)
def test_a_duplicate_key_is_found_in_every_disguise(disguise):
    assert refusal(disguise).code == "duplicate_key"


@pytest.mark.parametrize(
    "innocent",
    [
        '{"model":"a","x":":",' + MESSAGES + "}",
        '{"model" : "a",' + MESSAGES + "}",
        '{"model":"a","user":"say \\": twice\\": ",' + MESSAGES + "}",
        '{"model":"a","x\\\\":1,' + MESSAGES + "}",
    ],
)
def test_a_body_that_only_looks_odd_is_read(innocent):
    assert read(innocent).model == "a"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5), st.booleans(), st.booleans())
def test_any_object_without_duplicates_is_accepted_and_every_duplicate_refused(
    extra, ascii_only, twice
):
    body = {"model": "a", "messages": [{"role": "user", "content": "x"}]}
    body |= {f"x{key}": value for key, value in extra.items()}
    text = json.dumps(body, ensure_ascii=ascii_only)
    if not twice:
        assert read(text).body == orjson.loads(text)
        return
    assert refusal(text[:-1] + ', "model": "b"}').code == "duplicate_key"


@given(
    st.dictionaries(st.text(max_size=6), json_values, max_size=5),
    st.dictionaries(st.sampled_from(["model", "stream_options", "n"]), json_values, min_size=1),
    st.sampled_from([None, 2]),
)
def test_a_splice_changes_what_it_names_and_nothing_else(extra, changes, indent):
    body = {"model": "a", "nested": {"model": "b"}, **extra}
    raw = json.dumps(body, indent=indent).encode()
    spliced = splice(raw, orjson.loads(raw), changes)
    assert orjson.loads(spliced) == {**body, **changes}


def test_numbers_and_spacing_survive_a_splice_byte_for_byte():
    raw = b'{ "temperature": 1.50e0, "model" : "auto",\n "seed": 12345678901234567890123 }'
    body = {"temperature": 1.5, "model": "auto", "seed": 1}
    spliced = splice(raw, body, {"model": "m", "max_tokens": 5})
    assert spliced == (
        b'{ "temperature": 1.50e0, "model" : "m",\n "seed": 12345678901234567890123 '
        b',"max_tokens":5}'
    )


def test_a_nested_model_is_not_taken_for_the_request_s_own():
    raw = b'{"mod\\u0065l":"cheap","x":{"model":"dear"},"messages":[{"role":"user"}]}'
    sent = orjson.loads(upstream_body(read(raw), "real", None, "max_tokens"))
    assert sent["model"] == "real"
    assert sent["x"] == {"model": "dear"}


def test_usage_is_asked_for_on_streams_and_other_options_are_kept():
    chat = read('{"model":"m","stream":true,"stream_options":{"x":1},' + MESSAGES + "}")
    sent = orjson.loads(upstream_body(chat, "m", None, "max_tokens"))
    assert sent["stream_options"] == {"x": 1, "include_usage": True}
    plain = read('{"model":"m","stream":true,' + MESSAGES + "}")
    assert orjson.loads(upstream_body(plain, "m", None, "max_tokens"))["stream_options"] == {
        "include_usage": True
    }


def test_a_request_that_needs_no_change_goes_out_as_it_came():
    raw = ('{"model":"m",' + MESSAGES + "}").encode()
    assert upstream_body(read(raw), "m", None, "max_tokens") is raw


def test_a_bound_replaces_the_client_s_own_field_or_uses_the_provider_s():
    own = read('{"model":"m","max_completion_tokens":900,' + MESSAGES + "}")
    assert orjson.loads(upstream_body(own, "m", 50, "max_tokens"))["max_completion_tokens"] == 50
    none = read('{"model":"m",' + MESSAGES + "}")
    assert orjson.loads(upstream_body(none, "m", 50, "max_tokens"))["max_tokens"] == 50


def test_the_smaller_of_two_output_limits_counts():
    chat = read('{"model":"m","max_tokens":7,"max_completion_tokens":9,' + MESSAGES + "}")
    assert chat.output_tokens == 7
    for bound in (None, 5):
        sent = orjson.loads(upstream_body(chat, "m", bound, "max_tokens"))
        assert (sent["max_tokens"], sent["max_completion_tokens"]) == (bound or 7, bound or 7)


def test_a_limit_that_is_null_is_none():
    chat = read('{"model":"m","max_tokens":null,"n":null,' + MESSAGES + "}")
    assert (chat.output_tokens, chat.choices) == (None, 1)
    assert orjson.loads(upstream_body(chat, "m", 50, "max_tokens"))["max_tokens"] == 50


def test_as_many_answers_count_as_may_be_made_and_not_as_are_sent():
    for fields, choices in (('"n":3', 3), ('"best_of":4', 4), ('"n":2,"best_of":5', 5)):
        assert read('{"model":"m",' + fields + "," + MESSAGES + "}").choices == choices


@pytest.mark.parametrize(
    ("raw", "asks"),
    [
        (b'{"cache_control": {"type": "ephemeral", "ttl": "1h"}}', True),
        (b'{"cache_control": {"type": "ephemeral", "ttl": "\\u0031h"}}', True),
        (b'{"cache_control": {"type": "ephemeral", "ttl": "5m"}}', False),
        (b'{"content": "caf\\u00e9 for 1h"}', False),
    ],
)
def test_a_cache_for_an_hour_is_noticed_even_in_disguise(raw: bytes, asks: bool) -> None:
    assert asks_for_an_hour(raw) is asks
