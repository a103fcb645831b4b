"""What translations share: contents, system messages, errors, and usage reports."""

from typing import Any

import pytest

from budgets.usage import UsageFault, usage_from_anthropic, usage_from_openai, usage_from_responses
from gateway.dialects.translation import chat_answer, messages_answer, responses_answer
from gateway.dialects.translation.chat_content import (
    content_of,
    error_of,
    text_part,
    with_one_system,
)


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def test_leading_system_messages_become_one_and_later_ones_stay() -> None:
    user = {"role": "user", "content": "Hi"}
    messages = [system("a"), system(""), system("b"), user, system("c")]
    assert with_one_system(messages) == [system("a\n\nb"), user, system("c")]
    assert with_one_system([user]) == [user]
    assert with_one_system([]) == []


def test_one_text_is_a_plain_string() -> None:
    image = {"type": "image_url", "image_url": {"url": "u"}}
    assert content_of([]) == ""
    assert content_of([text_part("a")]) == "a"
    assert content_of([image]) == [image]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error":{"message":"m","type":"t","code":7}}', ("m", "t", "7")),
        (b'{"error":{"reason":"r"}}', ('{"reason":"r"}', "", "")),
        (b'{"message":"m"}', ("m", "", "")),
        (b"\xff", ("\ufffd", "", "")),
        (b"[]", ("[]", "", "")),
    ],
)
def test_an_error_is_found_in_every_shape(body: bytes, told: tuple[str, str, str]) -> None:
    assert error_of(400, body) == told


def test_a_report_with_counts_that_are_none_stays_a_fault() -> None:
    chat = {"prompt_tokens": "9", "completion_tokens": 4}
    assert isinstance(usage_from_anthropic(messages_answer.usage_of(chat)), UsageFault)
    assert isinstance(usage_from_responses(responses_answer.usage_of(chat)), UsageFault)
    message = {"input_tokens": 9, "output_tokens": "4"}
    assert isinstance(usage_from_openai(chat_answer.usage_of(message)), UsageFault)


def test_parts_that_exceed_their_total_stay_a_fault() -> None:
    chat = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 10},
    }
    assert isinstance(usage_from_anthropic(messages_answer.usage_of(chat)), UsageFault)
    assert isinstance(usage_from_responses(responses_answer.usage_of(chat)), UsageFault)


def test_no_report_stays_none() -> None:
    assert isinstance(usage_from_anthropic(messages_answer.usage_of(None)), UsageFault)
    assert responses_answer.usage_of(None) is None
    assert chat_answer.usage_of({}) is None
    assert chat_answer.usage_of({"input_tokens": 0, "output_tokens": 4}) is None
