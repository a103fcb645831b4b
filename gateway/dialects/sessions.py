"""The session that a client names inside of Anthropic's `metadata.user_id`."""

import re

import orjson

_SESSION = re.compile(r"[A-Za-z0-9_-]{8,128}")
_MARK = "_session_"


def session_in(user_id: str) -> str:
    """What follows `_session_`, or `session_id` of a JSON object; empty where there is neither."""
    found: object = ""
    if user_id.startswith("{"):
        try:
            named = orjson.loads(user_id)
        except orjson.JSONDecodeError:
            return ""
        found = named.get("session_id") if isinstance(named, dict) else ""
    elif _MARK in user_id:
        found = user_id.rpartition(_MARK)[2]
    return found if isinstance(found, str) and _SESSION.fullmatch(found) else ""
