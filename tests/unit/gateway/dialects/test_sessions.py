"""User and session inside of `metadata.user_id`, in each form that clients write it."""

import pytest

from gateway.dialects.sessions import split_user


@pytest.mark.parametrize(
    ("user_id", "user", "session"),
    [
        ("user_9f_account_0a1b_session_7d5f8e2c-1111", "user_9f_account_0a1b", "7d5f8e2c-1111"),
        (
            '{"device_id":"d","session_id":"7d5f8e2c-1111","account":"a"}',
            '{"account":"a","device_id":"d"}',
            "7d5f8e2c-1111",
        ),
        ('{"session_id":"7d5f8e2c-1111"}', "{}", "7d5f8e2c-1111"),
    ],
)
def test_a_session_is_split_from_its_user(user_id: str, user: str, session: str) -> None:
    assert split_user(user_id) == (user, session)


@pytest.mark.parametrize(
    "user_id",
    [
        '{"device_id":"d"}',
        '{"session_id":7}',
        "{broken",
        "[1]",
        "user_1_session_",
        "user_1_session_short",
        "user_1_session_has spaces in it",
        "somebody",
        "",
    ],
)
def test_what_holds_no_session_is_a_user_as_it_stands(user_id: str) -> None:
    assert split_user(user_id) == (user_id, "")
