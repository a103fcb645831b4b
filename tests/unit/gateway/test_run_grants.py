"""Run tokens: what is signed comes back, and nothing else is taken for one."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.runs import MAX_DEPTH, RunTerms
from gateway.auth import derive_secret
from gateway.run_grants import MAX_TOKEN_BYTES, PREFIX, InvalidRunTokenError, RunGrant, read, sign

KEY = derive_secret("s" * 32).run_key
GRANT = RunGrant(
    "k1",
    1_795_300_000,
    (RunTerms("low~2", 5, None, 7, 100), RunTerms("top~1", None, 10**15, None)),
    "reports",
    {"customer": "acme co"},
)
TOKEN = sign(KEY, GRANT).encode()


def test_a_token_says_what_was_granted() -> None:
    assert TOKEN.startswith(PREFIX)
    assert read(KEY, TOKEN) == GRANT
    assert (GRANT.run_id, GRANT.parents) == ("low~2", ("top~1",))
    plain = RunGrant("k1", 1, (RunTerms("run~1", 5),))
    assert read(KEY, sign(KEY, plain).encode()) == plain


def test_only_the_installation_that_signed_takes_a_token() -> None:
    other = derive_secret("t" * 32)
    for key in (other.run_key, other.digest_key, derive_secret("s" * 32).digest_key):
        with pytest.raises(InvalidRunTokenError):
            read(key, TOKEN)


@given(place=st.integers(0, len(TOKEN) - 1), byte=st.integers(0, 255))
def test_a_token_with_any_other_byte_is_none(place: int, byte: int) -> None:
    changed = TOKEN[:place] + bytes([byte]) + TOKEN[place + 1 :]
    if changed == TOKEN:
        return
    with pytest.raises(InvalidRunTokenError):
        read(KEY, changed)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        PREFIX,
        PREFIX + b".",
        TOKEN + b"A",
        TOKEN + b"=",
        TOKEN.removeprefix(PREFIX),
        TOKEN.rpartition(b".")[0],
        TOKEN.rpartition(b".")[0] + b".",
        PREFIX + b"x" * 100_000,
        b"sk-weir-" + TOKEN,
    ],
)
def test_a_text_that_is_cut_or_longer_is_no_token(text: bytes) -> None:
    with pytest.raises(InvalidRunTokenError):
        read(KEY, text)


def resigned(payload: object) -> bytes:
    """A payload that somebody with the key has signed, whatever it is."""
    import hmac  # noqa: PLC0415

    encoded = base64.urlsafe_b64encode(orjson.dumps(payload)).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.digest(KEY, encoded, "sha256")).rstrip(b"=")
    return PREFIX + encoded + b"." + signature


@pytest.mark.parametrize(
    "payload",
    [
        [],
        {},
        {"key": "k", "until": 1, "runs": [], "workflow": None, "tags": {}},
        {"key": "k", "until": 1, "runs": [["r", 1, 2, 3, 4, 5, 6]], "workflow": None, "tags": {}},
        {
            "key": "k",
            "until": 1,
            "runs": [["r", 1, 2, 3]] * (MAX_DEPTH + 1),
            "workflow": None,
            "tags": {},
        },
    ],
)
def test_a_payload_of_another_version_is_no_token(payload: object) -> None:
    with pytest.raises(InvalidRunTokenError):
        read(KEY, resigned(payload))


def test_the_deepest_run_with_ten_long_tags_has_a_token_that_is_read() -> None:
    tags = {f"{n}{'n' * 63}": "v" * 128 for n in range(10)}
    chain = tuple([RunTerms(f"{'n' * 48}~{'f' * 20}", 9 * 10**15, 9 * 10**15, 9 * 10**15)] * 8)
    token = sign(KEY, RunGrant("k" * 16, 1, chain, "w" * 128, tags)).encode()
    assert len(token) < MAX_TOKEN_BYTES
    assert read(KEY, token).chain == chain
