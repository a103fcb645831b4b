"""A chat request as the arguments of litellm's call. Pure.

litellm takes its own settings by the same door as the request: where to send, which key, what to
answer without asking. So only fields of a chat request pass.
"""

from collections.abc import Callable
from typing import Any

import orjson

from gateway.providers.litellm_contents import Losses, RequestFault

# Fields of OpenAI's chat completions that litellm translates.
PARAMETERS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
_ALWAYS = frozenset({"messages", "model", "stream", "stream_options"})
# The answer does not depend on these.
HINTS = frozenset(
    {"metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "store"}
)


def arguments_of(
    raw: bytes, supported: Callable[[str], frozenset[str] | None], losses: Losses
) -> dict[str, Any]:
    """The arguments, without the fields that are left out; raise RequestFault.

    `supported` tells which of the parameters a model takes, None where that is not known.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise RequestFault("the request is no JSON object with a model", "body", "invalid_json")
    if not isinstance(body.get("messages"), list):
        raise RequestFault("messages: must be a list", "messages", "missing_required_parameter")
    known = supported(body["model"])
    arguments: dict[str, Any] = {}
    for name, found in body.items():
        if found is None:
            continue
        if name in _ALWAYS or (name in PARAMETERS and (known is None or name in known)):
            arguments[name] = found
        elif name in HINTS:
            losses.hint(name)
        else:
            losses.refuse(name, "this model takes no such field")
    if arguments.get("stream"):
        arguments["stream_options"] = {"include_usage": True}
    else:
        arguments.pop("stream_options", None)
    return arguments


def usage_told(usage: object, generated: bool) -> dict[str, Any] | None:
    """litellm's usage as OpenAI reports it; None where the provider reported none.

    What litellm cannot know is zero. Cache writes, a part of the prompt, have names of its own.
    """
    if not isinstance(usage, dict) or not usage.get("prompt_tokens"):
        return None
    if generated and not usage.get("completion_tokens"):
        return None
    if not usage.get("completion_tokens_details"):
        # Where Gemini broke off an answer for its content, the thoughts are in the total alone.
        hidden = (usage.get("total_tokens") or 0) - usage["prompt_tokens"]
        usage = {**usage, "completion_tokens": max(usage.get("completion_tokens") or 0, hidden)}
    found = usage.get("prompt_tokens_details")
    told = dict(found) if isinstance(found, dict) else {}
    lives = told.pop("cache_creation_token_details", None)
    written = told.pop("cache_creation_tokens", None)
    if written is None:
        written = usage.get("cache_creation_input_tokens")
    if type(written) is int and written:
        hour = lives.get("ephemeral_1h_input_tokens") if isinstance(lives, dict) else None
        hour = hour if type(hour) is int else 0
        told["cache_write_tokens"] = written - hour
        if hour:
            told["cache_write_1h_tokens"] = hour
    return {**usage, "prompt_tokens_details": told}
