"""What of answers is measured: captures, cut in pieces, through a gateway and back."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tests.clients.canned_server import JSON, STREAM
from tests.journeys.answers_read import READERS, Read
from tests.journeys.fidelity_bench import (
    CARRIED,
    DROPPED,
    IDENTICAL,
    IDENTICAL_THEN_ERROR,
    LOST,
    Bench,
    Way,
    dropped_in,
)
from tests.journeys.fidelity_litellm import gemini_answer, read_gemini
from tests.unit.gateway.dialects.captures import FOLDER, capture

BIG_BYTES = 5_000_000
# Where a careless reader breaks: in a character, a line's end, an event's end, a field's name, an
# escape, and in the middle of a number.
AWKWARD = re.compile(
    rb"[\xc0-\xff](?=[\x80-\xbf])|\r(?=\n)|\n(?=\n)|\r\n(?=\r\n)|dat(?=a:)|data(?=:)|\\(?=[un\"])"
    rb"|\[DO(?=NE\])|ev(?=ent:)|:(?=\d)|\{(?=\")"
)


def whole(body: bytes) -> list[bytes]:
    return [body]


def awkward(body: bytes) -> list[bytes]:
    places = [0, *(found.end() for found in AWKWARD.finditer(body)), len(body)]
    return [body[a:b] for a, b in pairwise(places) if a < b]


def kilobytes(body: bytes) -> list[bytes]:
    return [body[at : at + 1_024] for at in range(0, len(body), 1_024)]


CHUNKINGS = (whole, awkward, kilobytes)
Change = Callable[[bytes], bytes]


@dataclass(frozen=True)
class AnswerRow:
    """One line of the table: a capture for each dialect, and the facts of it that must arrive.

    A fact that does not arrive has to be named by the gateway, with one of `named`.
    """

    title: str
    captures: Mapping[str, str]
    facts: tuple[str, ...]
    named: tuple[str, ...] = ()
    change: Change = field(default=bytes)
    # What no fact tells of: a text that has to be found in the answer's bytes.
    mark: str = ""


def _line_ends(end: bytes) -> Change:
    def change(body: bytes) -> bytes:
        return body.replace(b"\n", end)

    return change


def _swollen(place: bytes, body: bytes) -> bytes:
    """The stream with one event of 5 MB: a field that nobody is billed for is that long."""
    assert body.count(place) >= 1
    return body.replace(place, place + b"A" * BIG_BYTES, 1)


def _big(body: bytes) -> bytes:
    for place in (
        b'"data":"UklGR',
        b'"encrypted_content":"',
        b'"signature":"EqQB',
        b'"hologram":"',
    ):
        if place in body:
            return _swollen(place, body)
    raise AssertionError("nowhere to put 5 MB")


TEXT = {"chat": "text", "completions": "text", "responses": "text", "messages": "text"}
TOOLS = {
    "chat": "tool_calls",
    "responses": "parallel_tools",
    "messages": "parallel_tools",
}
LINES = {
    "chat": "reasoning_with_comments",
    "completions": "comments",
    "responses": "comments",
    "messages": "unknown_events",
}
BROKEN = dict.fromkeys(("chat", "completions", "responses", "messages"), "truncated")
WHOLE = dict.fromkeys(("chat", "completions", "responses", "messages"), "whole.json")
ROWS: tuple[AnswerRow, ...] = (
    AnswerRow("Text with characters of several bytes", TEXT, ("text",)),
    AnswerRow("Calls of tools, parallel and in pieces", TOOLS, ("calls",)),
    AnswerRow("A custom tool's call in pieces", {"responses": "custom_tool"}, ("calls",)),
    AnswerRow(
        "Reasoning in the open",
        {
            "chat": "reasoning_with_comments",
            "responses": "parallel_tools",
            "messages": "thinking",
        },
        ("reasoning",),
    ),
    AnswerRow(
        "Signed and sealed thinking",
        {"responses": "parallel_tools", "messages": "thinking"},
        ("seals",),
        ("answer.thinking_blocks",),
    ),
    AnswerRow(
        "A refusal",
        dict.fromkeys(("chat", "responses", "messages"), "refusal"),
        ("refused", "text"),
    ),
    AnswerRow(
        "Log probabilities",
        {"chat": "text", "completions": "text", "responses": "text"},
        ("logprobs",),
        ("answer.choices.logprobs",),
    ),
    AnswerRow("Sound and its transcript", {"chat": "audio"}, ("audio",), ("answer.audio",)),
    AnswerRow(
        "Several choices",
        {"chat": "two_choices", "completions": "text"},
        ("choices",),
        ("answer.choices[1]",),
    ),
    AnswerRow(
        "Citations",
        {
            "chat": "unknown_fields",
            "responses": "web_search_and_unknown_events",
            "messages": "web_search",
        },
        ("citations",),
        ("answer.annotations", "answer.content.citations_delta"),
    ),
    AnswerRow(
        "What a provider's own tool did",
        {"responses": "web_search_and_unknown_events", "messages": "web_search"},
        (),
        ("answer.content.server_tool_use", "answer.content.web_search_tool_result"),
        mark="web_search",
    ),
    AnswerRow(
        "Fields of the future",
        {"chat": "unknown_fields", "completions": "comments", "messages": "unknown_events"},
        (),
        ("answer.hologram", "answer.content_block_hologram"),
        mark="hologram",
    ),
    AnswerRow(
        "Events of the future",
        {"responses": "web_search_and_unknown_events", "messages": "unknown_events"},
        (),
        ("answer.content_block_hologram",),
        mark="",
    ),
    AnswerRow(
        "Usage: input and output",
        {**TOOLS, "completions": "text"},
        ("input_tokens", "output_tokens"),
    ),
    AnswerRow(
        "Usage: cached tokens",
        {"chat": "text", "completions": "comments", "responses": "text", "messages": "cache"},
        ("cached", "input_tokens"),
    ),
    AnswerRow(
        "Usage: cache writes",
        {"chat": "cache_writes", "responses": "parallel_tools", "messages": "cache"},
        ("cache_write", "input_tokens"),
    ),
    AnswerRow("Usage: cache writes for an hour", {"messages": "cache"}, ("cache_write_1h",)),
    AnswerRow(
        "Usage: reasoning tokens",
        {"chat": "cache_writes", "responses": "text", "messages": "thinking"},
        ("thought_tokens", "output_tokens"),
    ),
    AnswerRow(
        "Usage: sound",
        {"chat": "audio"},
        ("audio_tokens",),
        ("answer.usage.audio_tokens",),
    ),
    AnswerRow(
        "The output limit was reached",
        {
            "chat": "length",
            "completions": "comments",
            "responses": "incomplete",
            "messages": "max_tokens",
        },
        ("cut_short", "text"),
    ),
    AnswerRow(
        "The stop sequence that ended it",
        {"chat": "stop_sequence", "messages": "stop_sequence"},
        ("stop_sequence",),
        ("answer.choices.stop_reason",),
    ),
    AnswerRow(
        "An error inside the stream",
        {"chat": "error", "responses": "failed", "messages": "error"},
        ("error", "incomplete"),
    ),
    AnswerRow("A stream that is torn", BROKEN, ("incomplete",)),
    AnswerRow("Line ends CR LF", TEXT, ("text",), change=_line_ends(b"\r\n")),
    AnswerRow("Line ends CR", TEXT, ("text",), change=_line_ends(b"\r")),
    AnswerRow("Data over several lines", LINES, ("text",)),
    AnswerRow("Comments", LINES, ("comments",)),
    AnswerRow(
        "An event of 5 MB",
        {
            "chat": "audio",
            "completions": "comments",
            "responses": "parallel_tools",
            "messages": "thinking",
        },
        ("output_tokens",),
        change=_big,
    ),
    AnswerRow("Whole: text, reasoning and calls", WHOLE, ("text", "reasoning", "calls")),
    AnswerRow(
        "Whole: usage",
        {**WHOLE, "embeddings": "floats.json"},
        ("input_tokens", "output_tokens", "cached"),
    ),
    AnswerRow(
        "Whole: sealed thinking",
        {name: WHOLE[name] for name in ("responses", "messages")},
        ("seals",),
        ("answer.thinking_blocks",),
    ),
    AnswerRow(
        "Whole: log probabilities",
        {name: WHOLE[name] for name in ("chat", "completions", "responses")},
        ("logprobs",),
        ("answer.choices.logprobs",),
    ),
    AnswerRow(
        "Whole: citations",
        {"messages": "whole.json"},
        ("citations",),
        ("answer.content.text.citations",),
    ),
    AnswerRow(
        "Whole: fields of the future, numbers as they are written",
        {**WHOLE, "embeddings": "floats.json"},
        (),
        ("answer.hologram",),
        mark="hologram",
    ),
    AnswerRow("Whole: usage of a refusal", {}, ("input_tokens", "output_tokens")),
    AnswerRow("Whole: vectors in base64", {"embeddings": "base64.json"}, ()),
)


def cell(bench: Bench, row: AnswerRow, way: Way) -> str | None:
    """What became of it in every chunking; None where the row does not apply."""
    found = _captured(row, way.spoken)
    if found is None:
        return None
    sent, is_stream = row.change(found[0]), found[1]
    seen = {_one(bench, row, way, sent, cut(sent), is_stream) for cut in CHUNKINGS}
    assert len(seen) == 1, f"{row.title}, {way}: {seen} as it is cut"
    return seen.pop()


def _captured(row: AnswerRow, dialect: str) -> tuple[bytes, bool] | None:
    """The bytes of an answer, and whether it is a stream."""
    if dialect == "gemini":
        return gemini_answer(row.title)
    name = row.captures.get(dialect)
    if name is None:
        return None
    path = f"{dialect}/{name}"
    if name.endswith(".json"):
        return (FOLDER / path).read_bytes(), False
    return capture(path), True


def _one(
    bench: Bench, row: AnswerRow, way: Way, sent: bytes, parts: list[bytes], is_stream: bool
) -> str:
    bench.canned.say(200, STREAM if is_stream else JSON, *parts)
    answer = bench.ask(way, {"stream": True} if is_stream else {})
    assert answer.status == 200, (row.title, way, answer.body[:500])
    if way.is_same:
        return _same(sent, answer.body)
    assert len(row.facts) < 2 or not row.named, "a name may hide the loss of another fact"
    reader = read_gemini if way.spoken == "gemini" else READERS[way.spoken]
    before = reader(sent, streamed=is_stream)
    after = READERS[way.asked](answer.body, streamed=is_stream)
    losses = list(_losses(row, sent, answer.body, before, after))
    if not losses:
        return CARRIED
    named = dropped_in(answer)
    if any(name in named for name in row.named):
        return DROPPED
    return f"{LOST}: {', '.join(losses)} (named: {', '.join(sorted(named))})"


def _same(sent: bytes, received: bytes) -> str:
    if received == sent:
        return IDENTICAL
    whole_events = sent[: sent.rfind(b"\n\n") + 2]
    added = received[len(whole_events) :]
    if received.startswith(whole_events) and b"upstream_broken" in added:
        return IDENTICAL_THEN_ERROR
    return LOST


def _losses(
    row: AnswerRow, sent: bytes, received: bytes, before: Read, after: Read
) -> Iterator[str]:
    for fact in row.facts:
        told = getattr(before, fact)
        assert told or fact == "incomplete", f"{row.title}: the capture has no {fact}"
        if getattr(after, fact) != told and not (fact == "comments" and _has_all(told, after)):
            yield fact
    if not row.facts:
        assert row.mark.encode() in sent, row.title
        if not row.mark or row.mark.encode() not in _without_names(received):
            yield row.mark or "the event"


def _has_all(comments: list[str], after: Read) -> bool:
    return all(comment in after.comments for comment in comments)


def _without_names(received: bytes) -> bytes:
    """The answer without the comment in which the gateway names what it left out."""
    return re.sub(rb"^: x-weir-dropped: .*$", b"", received, flags=re.MULTILINE)
