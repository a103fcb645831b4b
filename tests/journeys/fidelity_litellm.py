"""What of litellm's ways is measured: Gemini's answers, other words for fields, and what is lost.

litellm translates; what it leaves out of an answer, the gateway cannot see. So every loss is
written down here with its reason, and the test fails where one comes or goes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.journeys.answers_read import Read

Event = Mapping[str, Any]
SEAL = "EqQBgeminiSEAL"
USAGE = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 4,
    "totalTokenCount": 20,
}
SOUND_USAGE = {
    "promptTokenCount": 112,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 12},
        {"modality": "AUDIO", "tokenCount": 100},
    ],
    "candidatesTokenCount": 3,
    "totalTokenCount": 115,
}
GROUNDED = {
    "webSearchQueries": ["weather"],
    "groundingChunks": [{"web": {"uri": "https://example.com/weather", "title": "Weather"}}],
    "groundingSupports": [
        {
            "segment": {"startIndex": 0, "endIndex": 6, "text": "Sunny."},
            "groundingChunkIndices": [0],
        }
    ],
}
RAN = [
    {"executableCode": {"language": "PYTHON", "code": "web_search()"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "Sunny."}},
    {"text": "Sunny."},
]


def _event(*parts: Event, end: str = "", usage: Event = USAGE, **more: Any) -> Event:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if end:
        candidate["finishReason"] = end
    candidate |= more.pop("candidate", {})
    head = {"candidates": [candidate], "modelVersion": "gemini-3", "responseId": "r-1"}
    return {**head, **({"usageMetadata": usage} if end else {}), **more}


def _call(name: str, **arguments: Any) -> Event:
    return {"functionCall": {"id": f"call_{name}", "name": name, "args": arguments}}


_GREETING = (_event({"text": "Grüße "}), _event({"text": "🗼"}, end="STOP"))
_CALLS = (_event(_call("f", x=1)), _event(_call("g"), end="STOP"))
_THOUGHT = (
    _event({"text": "Hm.", "thought": True}),
    _event({"text": "Hi.", "thoughtSignature": SEAL}, end="STOP"),
)
_WHOLE = _event({"text": "Hm.", "thought": True}, {"text": "Hi 🗼"}, _call("f", x=1), end="STOP")
_FUTURE = {"hologram": {"beam": 1.5}}
_LOG_PROBABILITIES = {
    "logprobsResult": {"chosenCandidates": [{"token": "Hi", "logProbability": -0.25}]}
}
# Answers of Gemini's by the line that they are for; a whole one is no sequence.
ANSWERS: Mapping[str, Sequence[Event] | Event] = {
    "Text with characters of several bytes": _GREETING,
    "Calls of tools, parallel and in pieces": _CALLS,
    "Reasoning in the open": _THOUGHT,
    "Signed and sealed thinking": _THOUGHT,
    "A refusal": (_event({"text": "I "}), _event(end="SAFETY")),
    "Log probabilities": (_event({"text": "Hi"}, end="STOP", candidate=_LOG_PROBABILITIES),),
    "Citations": (
        _event({"text": "Sunny."}, end="STOP", candidate={"groundingMetadata": GROUNDED}),
    ),
    "What a provider's own tool did": (_event(*RAN, end="STOP"),),
    "Fields of the future": (_event({"text": "Hi"}, _FUTURE, end="STOP", **_FUTURE),),
    "Usage: input and output": _CALLS,
    "Usage: cached tokens": _GREETING,
    "Usage: reasoning tokens": _THOUGHT,
    "Usage: sound": (_event({"text": "Hi"}, end="STOP", usage=SOUND_USAGE),),
    "The output limit was reached": (_event({"text": "Once"}, end="MAX_TOKENS"),),
    "An error inside the stream": (
        _event({"text": "Once"}),
        {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}},
    ),
    "A stream that is torn": (_event({"text": "Once"}),),
    "Whole: text, reasoning and calls": _WHOLE,
    "Whole: usage": _WHOLE,
    "Whole: sealed thinking": _event({"text": "Hi", "thoughtSignature": SEAL}, end="STOP"),
    "Whole: log probabilities": _event({"text": "Hi"}, end="STOP", candidate=_LOG_PROBABILITIES),
    "Whole: usage of a refusal": _event(end="SAFETY"),
}


def gemini_answer(title: str) -> tuple[bytes, bool] | None:
    """The bytes for a line, and whether they are a stream; None where Gemini has no such thing."""
    found = ANSWERS.get(title)
    if found is None or isinstance(found, Mapping):
        return None if found is None else (json.dumps(found).encode(), False)
    return b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in found), True


def read_gemini(body: bytes, *, streamed: bool) -> Read:
    """An answer of Gemini's or its stream."""
    text = body.decode()
    found = Read()
    events = [json.loads(one[5:]) for one in text.split("\r\n\r\n") if one] if streamed else []
    for event in events or [json.loads(text)]:
        found.error = (event.get("error") or {}).get("message", "")
        for candidate in event.get("candidates", ()):
            for part in candidate["content"]["parts"]:
                _part(found, part)
            end = candidate.get("finishReason", "")
            found.cut_short, found.refused = end == "MAX_TOKENS", end == "SAFETY"
            found.incomplete = not end
            supports = (candidate.get("groundingMetadata") or {}).get("groundingSupports", ())
            found.citations += len(supports)
            chosen = (candidate.get("logprobsResult") or {}).get("chosenCandidates", ())
            found.logprobs += [token["logProbability"] for token in chosen]
        if usage := event.get("usageMetadata"):
            found.input_tokens = usage["promptTokenCount"]
            found.thought_tokens = usage.get("thoughtsTokenCount", 0)
            found.output_tokens = usage["candidatesTokenCount"] + found.thought_tokens
            found.cached = usage.get("cachedContentTokenCount", 0)
            kinds = usage.get("promptTokensDetails", ())
            sounds = [one["tokenCount"] for one in kinds if one["modality"] == "AUDIO"]
            found.audio_tokens = sum(sounds)
    return found


def _part(found: Read, part: Mapping[str, Any]) -> None:
    if part.get("thought"):
        found.reasoning += part["text"]
    else:
        found.text += part.get("text", "")
    if "thoughtSignature" in part:
        found.seals.append(part["thoughtSignature"])
    if call := part.get("functionCall"):
        found.calls.append((call["id"], call["name"], call["args"]))


# Where a field is said in words of which none is the client's: by vendor and line.
OTHER_WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("anthropic", "How much to think"): ('"budget_tokens"',),
    ("gemini", "The choice of a tool"): ("allowed_function_names", "probe_tool"),
    ("gemini", "An answer after a schema"): ("probe_answer", "application/json"),
    ("gemini", "Several answers"): ('"candidate_count":2',),
    ("gemini", "How closely to look at an image"): ("MEDIA_RESOLUTION_HIGH",),
    ("gemini", "No call at all"): ('"NONE"', "probe_tool"),
    ("gemini", "JSON without a schema"): ("application/json",),
}
_CITED = (
    "litellm tells quotations in a field of its own, `provider_specific_fields`, and not as "
    "`annotations`"
)
_FUTURE_LOST = "litellm passes what it knows"
_STOPPED = "litellm says `stop`, and not which sequence it was"
_BROKE = (
    "the client is told in the stream that it broke off, but not in the provider's words: litellm "
    "mixes them with its own, and they may quote the request"
)
_ALIVE = "litellm passes no comments; they only keep a connection open"
# By vendor and line, and why it can be no other way.
LOSSES: Mapping[tuple[str, str], str] = {
    ("openai", "A refusal"): (
        "litellm leaves `refusal` out of streams; `openai_http` passes it, and providers of this "
        "dialect need no litellm"
    ),
    ("anthropic", "Citations"): _CITED,
    ("anthropic", "Whole: citations"): _CITED,
    ("gemini", "What a provider's own tool did"): (
        "litellm passes over code that Gemini ran, and over what came out"
    ),
    ("anthropic", "Fields of the future"): _FUTURE_LOST,
    ("gemini", "Fields of the future"): _FUTURE_LOST,
    ("anthropic", "Events of the future"): _FUTURE_LOST,
    ("anthropic", "Whole: fields of the future, numbers as they are written"): _FUTURE_LOST,
    ("anthropic", "The stop sequence that ended it"): _STOPPED,
    ("openai", "The stop sequence that ended it"): _STOPPED,
    ("anthropic", "An error inside the stream"): _BROKE,
    ("gemini", "An error inside the stream"): _BROKE,
    ("openai", "An error inside the stream"): _BROKE,
    ("gemini", "A stream that is torn"): (
        "litellm gives every piece of Gemini's an end, so a stream without its last piece looks "
        "whole; a connection that breaks is an error all the same"
    ),
    ("anthropic", "Comments"): _ALIVE,
    ("openai", "Comments"): _ALIVE,
}
