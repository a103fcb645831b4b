"""The session inside of `metadata.user_id`, in each form that clients write it."""

import pytest

from gateway.dialects.sessions import session_in


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        ("user_9f_account_0a1b_session_7d5f8e2c-1111-2222", "7d5f8e2c-1111-2222"),
        ('{"device_id":"d","session_id":"7d5f8e2c-1111"}', "7d5f8e2c-1111"),
        ('{"device_id":"d"}', ""),
        ('{"session_id":7}', ""),
        ("{broken", ""),
        ("[1]", ""),
        ("user_1_session_", ""),
        ("user_1_session_short", ""),
        ("user_1_session_has spaces in it", ""),
        ("somebody", ""),
        ("", ""),
    ],
)
def test_a_session_is_found_where_it_can_be_one(user_id: str, session: str) -> None:
    assert session_in(user_id) == session
