"""The most a batch can cost: what each line can, by the arithmetic of live requests, added up."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from budgets.prices import ceiling_nano, make_price
from gateway.batches.bounding import FileBound, bound_file, bound_line
from gateway.batches.lines import read_line
from gateway.input_size import exact_size
from tests.unit.gateway.batches.made import CHAT, HALF, PICO, chat, jsonl, prices, refusal, terms

LONGEST = 1_000  # tokens of an answer
RESPONSES = "/v1/responses"


def bound(*lines: object, **changes: Any) -> FileBound:
    raw = jsonl(*lines)
    return bound_file(raw, 0, len(raw), terms(**changes)).bound


def input_bound(line: dict[str, Any]) -> int:
    read = read_line(1, orjson.dumps(line))
    return exact_size(read.dialect.input_parts(read.request)).bound_tokens(0)


def test_a_line_is_bounded_by_its_text_and_its_limit_at_the_price_of_batches() -> None:
    found = bound(chat())
    tokens_in = input_bound(chat())
    price = make_price("tiny", HALF, version="v1")
    assert found.ceiling_nano == ceiling_nano(price, tokens_in, 10) == tokens_in * 500 + 10_000
    assert (found.tokens, found.lines, found.url) == (tokens_in + 10, 1, CHAT)
    assert found.output_tokens == 10
    assert (found.line_nano, found.line_tokens) == (found.ceiling_nano, found.tokens)


def test_lines_add_up_and_the_dearest_is_known() -> None:
    lines = [chat(1), chat(2, max_tokens=100), chat(3, n=3)]
    single = [bound(line) for line in lines]
    found = bound(*lines)
    assert found.ceiling_nano == sum(one.ceiling_nano for one in single)
    assert found.tokens == sum(one.tokens for one in single)
    assert found.line_nano == max(one.ceiling_nano for one in single) == single[1].ceiling_nano


@pytest.mark.parametrize(
    ("fields", "output"),
    [({"max_tokens": None}, LONGEST), ({"max_tokens": 5_000}, LONGEST), ({"n": 4}, 40)],
)
def test_an_answer_without_a_limit_may_be_the_longest_of_its_model(
    fields: dict[str, Any], output: int
) -> None:
    line = chat(**fields)
    assert bound(line).tokens == input_bound(line) + output


def test_without_a_price_for_batches_the_usual_one_holds() -> None:
    alone = prices().at("tiny", 1)
    assert alone is not None
    plain = prices(make_price("plain", PICO, version="v1"))
    card = replace(terms().card, price_model="plain")
    assert (
        bound(chat(), card=card, prices=plain).ceiling_nano == input_bound(chat()) * 1_000 + 20_000
    )


def test_texts_are_counted_where_the_vocabulary_is_known() -> None:
    counted = bound(chat(), count=lambda texts: 1, vocabulary="o200k_base")
    assert counted.tokens < bound(chat()).tokens


def responses(**fields: Any) -> dict[str, Any]:
    body = {"model": "tiny", "input": "Hello", "max_output_tokens": 10, **fields}
    return {"custom_id": "r", "method": "POST", "url": RESPONSES, "body": body}


def test_tools_of_the_provider_are_bounded_by_the_client_or_refused() -> None:
    search = [{"type": "web_search"}]
    found = bound(responses(tools=search, max_tool_calls=2))
    assert found.tokens == 3 * 4_096 + 10
    with refusal(r"Line 1: .*`max_tool_calls` to 2") as refused:
        bound(responses(tools=search))
    assert refused.value.param == "body.max_tool_calls"
    with refusal(r"Line 1: .*at most 2 uses"):
        bound(responses(tools=search, max_tool_calls=9))


def test_embeddings_have_no_output() -> None:
    line = {"custom_id": "e", "method": "POST", "url": "/v1/embeddings"}
    found = bound({**line, "body": {"model": "tiny", "input": "Hello"}})
    assert found.ceiling_nano == found.tokens * 500


@pytest.mark.parametrize(
    ("second", "param", "words"),
    [
        (responses(), "url", "a batch has one"),
        (chat(2, model="other"), "body.model", "a batch has one model"),
        (chat(1), "custom_id", "that of an earlier line"),
    ],
)
def test_all_lines_go_together(second: dict[str, Any], param: str, words: str) -> None:
    with refusal(f"Line 2: .*{words}") as refused:
        bound(chat(1), second)
    assert refused.value.param == param


def test_a_url_that_the_provider_does_not_serve_is_refused() -> None:
    with refusal("provider here does not serve /v1/chat/completions"):
        bound(chat(), spoken=frozenset({"responses"}))


def test_lines_take_the_providers_name_of_the_model_and_stay_untouched_otherwise() -> None:
    raw = jsonl(chat(1), chat(2))
    assert bound_file(raw, 0, len(raw), terms()).pieces == []
    read = bound_file(raw, 0, len(raw), terms(upstream="up-tiny"))
    assert b"".join(read.pieces) == raw.replace(b'"model":"tiny"', b'"model":"up-tiny"')


def test_files_that_lines_name_are_known() -> None:
    image = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-9"}}]}]
    raw = jsonl(chat(1), chat(2, messages=image))
    assert bound_file(raw, 0, len(raw), terms()).named == {"file-9"}


@pytest.mark.parametrize(
    "changes",
    [
        {"hosted_tool_uses": 3},
        {"vocabulary": "o200k_base"},
        {"card": replace(terms().card, max_output_tokens=999)},
        {"card": replace(terms().card, prompt_overhead_tokens=1)},
        {"now_s": 1_900_000_001},
    ],
)
def test_a_bound_says_what_it_rests_on(changes: dict[str, Any]) -> None:
    later = make_price("tiny", PICO, version="v2", valid_from_s=1_900_000_000, service_tier="batch")
    changes = {"prices": prices(later), **changes}
    assert terms(prices=prices(later)).basis == terms().basis
    assert terms(**changes).basis != terms().basis


def test_without_a_price_nothing_is_bounded() -> None:
    with refusal("'tiny' has no price for tokens") as refused:
        assert terms(now_s=-1).basis
    assert refused.value.code == "price_unknown"
    with refusal("Line 4: .*has no price") as refused:
        bound_line(read_line(4, orjson.dumps(chat())), terms(now_s=-1))
    assert refused.value.details == {"line": 4}
