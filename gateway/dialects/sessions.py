"""The user and the session that a client names together in Anthropic's `metadata.user_id`."""

import re

import orjson

_SESSION = re.compile(r"[A-Za-z0-9_-]{8,128}")
_MARK = "_session_"


def split_user(user_id: str) -> tuple[str, str]:
    """The user, and the session that follows `_session_` or is `session_id` of a JSON object.

    Where there is no session, the user is the text as it stands.
    """
    user, session = user_id, ""
    if user_id.startswith("{"):
        user, session = _split_object(user_id)
    elif _MARK in user_id:
        user, _, session = user_id.rpartition(_MARK)
    return (user, session) if _SESSION.fullmatch(session) else (user_id, "")


def _split_object(user_id: str) -> tuple[str, str]:
    try:
        named = orjson.loads(user_id)
    except orjson.JSONDecodeError:
        return user_id, ""
    session = named.pop("session_id", "") if isinstance(named, dict) else ""
    if not isinstance(session, str):
        return user_id, ""
    return orjson.dumps(named, option=orjson.OPT_SORT_KEYS).decode(), session
