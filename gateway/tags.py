"""Tags as clients send them: `feature=search,customer=acme`, or an object in the metadata."""

from collections.abc import Mapping
from typing import Any

from budgets.config import is_tag
from gateway.errors import bad_request

MAX_TAGS = 10
_FORM = (
    "NAME=VALUE; a NAME is 1 to 64 letters, digits or . _ -, a VALUE also has spaces and : @ + /"
)


def read_tags(header: bytes | None, metadata: object) -> Mapping[str, str]:
    """Name to value, from the header `x-weir-tags` and `metadata.weir_tags`; the header wins.

    Raise ApiError (400) for what is no tag, a name twice in one place, or more than ten tags.
    """
    found: dict[str, str] = {}
    if metadata is not None:
        found.update(_from_metadata(metadata))
    if header is not None:
        found.update(_parsed(header.decode("latin-1"), "header x-weir-tags", "x-weir-tags"))
    if len(found) > MAX_TAGS:
        param = "x-weir-tags" if header is not None else "metadata.weir_tags"
        raise bad_request(f"A request has at most {MAX_TAGS} tags, this one {len(found)}.", param)
    return found


def _from_metadata(value: object) -> Mapping[str, str]:
    where = "metadata.weir_tags"
    if isinstance(value, str):
        return _parsed(value, f"`{where}`", where)
    if not isinstance(value, dict):
        message = f'`{where}` must be a text such as "feature=search", or an object.'
        raise bad_request(message, where, "invalid_type")
    _check_count(len(value), f"`{where}`", where)
    for name, content in value.items():
        if not (isinstance(content, str) and is_tag(f"{name}={content}")):
            raise bad_request(f"The `{where}` must be tags: {_FORM}.", where)
    return value


def _parsed(text: str, where: str, param: str) -> Mapping[str, str]:
    parts = [part.strip() for part in text.split(",", MAX_TAGS + 1)]
    _check_count(len(parts), where, param)
    tags: dict[str, Any] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if not is_tag(part) or name in tags:
            raise bad_request(
                f"The {where} must be different tags, parted by commas: {_FORM}.", param
            )
        tags[name] = value
    return tags


def _check_count(count: int, where: str, param: str) -> None:
    if count > MAX_TAGS:
        raise bad_request(f"The {where} may hold at most {MAX_TAGS} tags.", param)
