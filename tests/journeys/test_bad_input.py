"""Whatever a client sends, it is told what is wrong with it; the gateway itself never fails."""

import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.journeys.gateway_process import (
    SCRIPTED_CONFIG,
    Answer,
    GatewayProcess,
    assert_clean,
    budget,
    gateway,
)

CHAT = "/v1/chat/completions"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = SCRIPTED_CONFIG + budget("run:*", "1")
    with gateway(tmp_path_factory.mktemp("weir"), config) as running:
        yield running
        assert_clean(running)
        assert "Traceback" not in running.log()
        assert running.stop() == 0


def post(weir: GatewayProcess, body: bytes, **headers: str) -> Answer:
    sent = {"Authorization": f"Bearer {weir.key}", "Content_Type": "application/json", **headers}
    return weir.ask("POST", CHAT, body, **sent)


def request(**fields: Any) -> bytes:
    body = {"model": "auto", "messages": HELLO, **fields}
    return json.dumps({name: value for name, value in body.items() if value != "left out"}).encode()


def assert_refused(answer: Answer, status: int, code: str, param: str | None) -> None:
    error = answer.error
    assert (answer.status, error["code"], error["param"]) == (status, code, param), error
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) > 10
    assert answer.headers["content-type"] == "application/json"


NESTED = b"[" * 900 + b"]" * 900


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", "body"),
        (b"{", "invalid_json", "body"),
        (b"nonsense", "invalid_json", "body"),
        (b"\xff\xfe\x00", "invalid_json", "body"),
        (b"[]", "invalid_json", "body"),
        (b'"auto"', "invalid_json", "body"),
        (b"null", "invalid_json", "body"),
        (request() + b"x", "invalid_json", "body"),
        (request() + b"\x00", "invalid_json", "body"),
        (request().replace(b"Hello", b"\\ud800"), "invalid_json", "body"),
        (request().replace(b"Hello", b"a\x00b"), "invalid_json", "body"),
        (request(seed=0).replace(b"0}", b"1e999}"), "invalid_json", "body"),
        (request(x=0).replace(b"0}", b"NaN}"), "invalid_json", "body"),
        (request(x=0).replace(b"0}", b"[" * 5_000 + b"]" * 5_000 + b"}"), "invalid_json", "body"),
        (b'{"model":"auto","model":"tiny","messages":[]}', "duplicate_key", "model"),
        (request(x=0).replace(b"0}", b'{"a":1,"\\u0061":2}}'), "duplicate_key", "a"),
        (request(model="left out"), "missing_required_parameter", "model"),
        (request(model=None), "invalid_type", "model"),
        (request(model=""), "invalid_type", "model"),
        (request(messages="left out"), "missing_required_parameter", "messages"),
        (request(messages=None), "missing_required_parameter", "messages"),
        (request(messages=[]), "invalid_value", "messages"),
        (request(messages={}), "invalid_value", "messages"),
        (request(messages=["Hello"]), "invalid_type", "messages[0]"),
        (request(messages=[*HELLO, {}]), "missing_required_parameter", "messages[1].role"),
        (request(messages=[{"role": 7}]), "invalid_type", "messages[0].role"),
        (request(n=0), "invalid_value", "n"),
        (request(n=-1), "invalid_value", "n"),
        (request(n=1.5), "invalid_value", "n"),
        (request(n=10**12), "invalid_value", "n"),
        (request(max_tokens=-1), "invalid_value", "max_tokens"),
        (request(max_tokens=0), "invalid_value", "max_tokens"),
        (request(max_tokens="many"), "invalid_value", "max_tokens"),
        (request(max_tokens=10**30), "invalid_value", "max_tokens"),
        (request(max_completion_tokens=True), "invalid_value", "max_completion_tokens"),
        (request(stream="yes"), "invalid_type", "stream"),
        (request(stream_options=[]), "invalid_type", "stream_options"),
        (request(metadata={"weir_run": 7}), "invalid_type", "metadata.weir_run"),
        (request(metadata={"weir_workflow": "a\nb"}), "invalid_value", "metadata.weir_workflow"),
        (request(messages=[{"role": "user", "content": "x " * 200_000}]),
         "context_length_exceeded", "model"),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else value,
)  # fmt: skip
def test_a_bad_body_is_a_400_that_names_the_field(
    weir: GatewayProcess, body: bytes, code: str, param: str
) -> None:
    assert_refused(post(weir, body), 400, code, param)


@pytest.mark.parametrize(
    "model",
    ["gpt-9", "tier:", "tier:golden", "auto ", "AUTO", "a\x00b", "\u202e", "x" * 100_000, "'; --"],
)
def test_an_unknown_model_is_a_404_and_on_record(weir: GatewayProcess, model: str) -> None:
    answer = post(weir, request(model=model))
    assert_refused(answer, 404, "model_not_found", "model")
    row = weir.request(answer.request_id)
    assert (row["basis"], row["error_code"]) == ("refused", "model_not_found")
    assert row["requested_model"] == model[:256]


@pytest.mark.parametrize("model", ["auto:", "auto:none"])
def test_an_unknown_policy_is_a_404(weir: GatewayProcess, model: str) -> None:
    answer = post(weir, request(model=model))
    assert (answer.status, answer.error["param"]) == (404, "model")


@pytest.mark.parametrize("spaced", [False, True], ids=["plain", "looked at twice"])
@pytest.mark.parametrize("depth", [100, 500, 900, 1_000, 1_100])
def test_deep_nesting_is_answered_or_refused(
    weir: GatewayProcess, depth: int, spaced: bool
) -> None:
    deep = b"[" * depth + b"]" * depth
    body = request(x=0).replace(b"0}", deep + b"}")
    answer = post(weir, body.replace(b'"model":', b'"model" :') if spaced else body)
    assert answer.status in (200, 400), answer.body
    if answer.status == 400:
        assert_refused(answer, 400, "invalid_json", "body")


def test_a_body_of_twenty_megabytes_is_a_413(weir: GatewayProcess) -> None:
    answer = post(weir, request(messages=[{"role": "user", "content": "x" * 20_000_000}]))
    assert_refused(answer, 413, "request_too_large", "body")
    assert answer.headers["x-should-retry"] == "false"
    assert post(weir, request()).status == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer sk-weir-wrong", "Basic abc", "Bearer " + "x" * 5_000],
)
def test_a_wrong_key_is_a_401_that_says_nothing_about_the_body(
    weir: GatewayProcess, authorization: str
) -> None:
    answer = post(weir, b"{", Authorization=authorization)
    assert_refused(answer, 401, "invalid_api_key", None)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_in_x_api_key_opens_the_door(weir: GatewayProcess) -> None:
    answer = weir.ask("POST", CHAT, request(), x_api_key=weir.key)
    assert answer.status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=x"]
)
def test_the_body_is_read_as_json_whatever_it_is_called(weir: GatewayProcess, kind: str) -> None:
    assert post(weir, request(), Content_Type=kind).status == 200


def test_a_compressed_body_is_refused_as_not_json(weir: GatewayProcess) -> None:
    answer = post(weir, gzip.compress(request()), Content_Encoding="gzip")
    assert_refused(answer, 400, "invalid_json", "body")


@pytest.mark.parametrize("header", ["x-weir-workflow", "x-weir-run"])
@pytest.mark.parametrize("name", ["", "../etc", "-a", "a\tb", "a" * 129, "caf\u00e9", "a;b", "{}"])
def test_a_bad_name_in_a_header_is_a_400_that_names_the_header(
    weir: GatewayProcess, header: str, name: str
) -> None:
    answer = post(weir, request(), **{header: name})
    assert_refused(answer, 400, "invalid_value", header)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", CHAT, 405, "method_not_allowed"),
        ("PUT", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/moderations", 404, "unknown_url"),
        ("POST", CHAT + "/", 404, "unknown_url"),
        ("POST", "//v1/chat/completions", 404, "unknown_url"),
        ("GET", "/v1/%00", 404, "unknown_url"),
        ("GET", "/nowhere", 404, "unknown_url"),
        ("GET", "/admin/nowhere", 404, "unknown_url"),
        ("GET", "/admins", 404, "unknown_url"),
        ("DELETE", "/admin/audit", 405, "method_not_allowed"),
    ],
)
def test_a_wrong_address_is_refused_in_the_same_shape(
    weir: GatewayProcess, method: str, path: str, status: int, code: str
) -> None:
    answer = weir.ask(method, path, Authorization=f"Bearer {weir.admin_key}")
    assert_refused(answer, status, code, None)
    assert ("allow" in answer.headers) is (status == 405)


def test_head_and_options_are_answered_without_a_body(weir: GatewayProcess) -> None:
    connection = weir.connect()
    headers = {"Authorization": f"Bearer {weir.key}"}
    for method, path, status, allow in (
        ("HEAD", "/v1/models", 200, None),
        ("HEAD", CHAT, 405, "POST, OPTIONS"),
        ("OPTIONS", CHAT, 204, "POST, OPTIONS"),
        ("OPTIONS", "/v1/models/tiny", 204, "GET, HEAD, OPTIONS"),
        ("GET", CHAT, 405, "POST, OPTIONS"),
    ):
        connection.request(method, path, headers=headers)  # all on one connection
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("allow")) == (status, allow)
        assert (answer.read() == b"") is (method != "GET")


def test_a_body_in_chunks_is_read_whole(weir: GatewayProcess) -> None:
    connection = weir.connect()
    pieces = (request()[at : at + 9] for at in range(0, len(request()), 9))
    headers = {"Authorization": f"Bearer {weir.key}", "Transfer-Encoding": "chunked"}
    connection.request("POST", CHAT, pieces, headers, encode_chunked=True)
    assert connection.getresponse().status == 200


# -- whatever else there is -------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
MESSAGE = ANYTHING | st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool"]) | ANYTHING},
    optional={"content": ANYTHING, "tool_calls": ANYTHING, "name": ANYTHING},
)
LOOKED_AT = (
    "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "metadata", "tools",
    "tool_choice", "response_format", "reasoning_effort", "service_tier", "functions",
    "modalities", "audio", "prediction", "user", "logprobs", "x",
)  # fmt: skip
BODY = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["auto", "tiny", "tier:small", "gpt"]) | ANYTHING,
        "messages": st.lists(MESSAGE, max_size=4) | ANYTHING,
    },
    optional=dict.fromkeys(LOOKED_AT, ANYTHING),
)


@settings(max_examples=300)
@given(body=BODY | ANYTHING, trailer=st.binary(max_size=3) | st.just(b""), spaces=st.booleans())
def test_no_body_makes_the_gateway_fail(
    weir: GatewayProcess, body: Any, trailer: bytes, spaces: bool
) -> None:
    raw = json.dumps(body, indent=1 if spaces else None).encode() + trailer
    answer = post(weir, raw)
    assert answer.status < 500, (raw, answer.body)
    if answer.status >= 400:
        assert isinstance(answer.error["message"], str)
        assert answer.error["message"]


@settings(max_examples=200)
@given(raw=st.binary(max_size=200))
def test_no_bytes_make_the_gateway_fail(weir: GatewayProcess, raw: bytes) -> None:
    answer = post(weir, raw)
    assert answer.status == 400
    assert answer.error["param"] is not None


@settings(max_examples=100)
@given(
    name=st.sampled_from(
        ["x-weir-workflow", "x-weir-run", "authorization", "user-agent", "accept"]
    ),
    value=st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60),
)
def test_no_header_makes_the_gateway_fail(weir: GatewayProcess, name: str, value: str) -> None:
    try:
        answer = post(weir, request(), **{name: value})
    except (http.client.HTTPException, ConnectionError):
        return  # the web server hung up on what is not HTTP
    assert answer.status < 500
