"""Tags as clients write them."""

import pytest

from gateway.errors import ApiError
from gateway.tags import MAX_TAGS, read_tags


def test_a_text_of_tags_and_an_object_say_the_same() -> None:
    expected = {"feature": "search", "customer": "acme co"}
    assert read_tags(b"feature=search,customer=acme co", None) == expected
    assert read_tags(None, " feature=search , customer=acme co ") == expected
    assert read_tags(None, dict(expected)) == expected
    assert read_tags(None, None) == {}


def test_a_list_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ApiError) as caught:
        read_tags(b"a=1," * 100_000, None)
    assert f"at most {MAX_TAGS} tags" in caught.value.message
