"""More of requests that is measured: bytes in messages, and what is easily read over."""

from tests.journeys.fidelity_requests import (
    CHAT_TOOLS,
    FUNCTION,
    MESSAGES_TOOLS,
    RESPONSES_TOOLS,
    ROWS,
    SCHEMA,
    USER,
    Fields,
    RequestRow,
)

PNG = "iVBORw0KGgoprobe"
PICTURE = f"data:image/png;base64,{PNG}"
PDF = "JVBERi0xLjcKprobe"
WAV = "UklGRiQAAABXQVZFprobe"
PENALTIES: Fields = {"frequency_penalty": 0.4375, "presence_penalty": 0.3125}
LOOK = {"type": "text", "text": "Look:"}


def _said(*parts: Fields, kind: str = "messages") -> Fields:
    return {kind: [{"role": "user", "content": list(parts)}]}


def _history(**said: str) -> Fields:
    return {"messages": [USER, {"role": "assistant", "content": None, **said}, USER]}


MORE: tuple[RequestRow, ...] = (
    RequestRow(
        "An image in its bytes",
        {
            "chat": _said(LOOK, {"type": "image_url", "image_url": {"url": PICTURE}}),
            "responses": _said({"type": "input_image", "image_url": PICTURE}, kind="input"),
            "messages": _said(
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                }
            ),
        },
        (PNG,),
    ),
    RequestRow(
        "How closely to look at an image",
        {"chat": _said({"type": "image_url", "image_url": {"url": PICTURE, "detail": "high"}})},
        ('"high"',),
    ),
    RequestRow(
        "A file in its bytes",
        {
            "chat": _said(
                LOOK,
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
            ),
            "messages": _said(
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                }
            ),
        },
        (PDF,),
    ),
    RequestRow(
        "Sound in a message",
        {
            "chat": _said(
                LOOK, {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
            )
        },
        (WAV,),
    ),
    RequestRow(
        "Parts of the future", {"chat": _said(LOOK, {"type": "hologram", "beam": 1.5})}, ("beam",)
    ),
    RequestRow(
        "Who speaks",
        {"chat": {"messages": [{"role": "user", "content": "Hi", "name": "probe_name"}]}},
        ("probe_name",),
    ),
    RequestRow("A refusal in the history", {"chat": _history(refusal="Probe no.")}, ("Probe no.",)),
    RequestRow(
        "Open reasoning in the history",
        {"chat": _history(content="Hm.", reasoning_content="Probe why.")},
        ("Probe why.",),
    ),
    RequestRow(
        "Fields of the future in a message",
        {"chat": _history(content="Hm.", hologram="beam")},
        ("hologram",),
    ),
    RequestRow(
        "Tools whose schema is strict",
        {
            "chat": {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
            "responses": {"tools": [{"type": "function", **FUNCTION, "strict": True}]},
            "messages": {"tools": [{"name": "probe_tool", "input_schema": SCHEMA, "strict": True}]},
        },
        ('"strict":true', "probe_tool"),
    ),
    RequestRow(
        "Marks for the cache at a tool",
        {
            "chat": {
                "tools": [
                    {
                        "type": "function",
                        "function": FUNCTION,
                        "cache_control": {"type": "ephemeral"},
                    }
                ]
            },
            "messages": {
                "tools": [{**MESSAGES_TOOLS["tools"][0], "cache_control": {"type": "ephemeral"}}]
            },
        },
        ("cache_control",),
    ),
    RequestRow(
        "No call at all",
        {
            "chat": {**CHAT_TOOLS, "tool_choice": "none"},
            "responses": {**RESPONSES_TOOLS, "tool_choice": "none"},
            "messages": {**MESSAGES_TOOLS, "tool_choice": {"type": "none"}},
        },
        ('"none"', "probe_tool"),
    ),
    RequestRow(
        "JSON without a schema",
        {
            "chat": {"response_format": {"type": "json_object"}},
            "responses": {"text": {"format": {"type": "json_object"}}},
        },
        ("json_object",),
    ),
    RequestRow(
        "Penalties",
        {"chat": PENALTIES, "completions": PENALTIES},
        ("0.4375", "0.3125"),
    ),
    RequestRow(
        "Searching the web",
        {
            "chat": {
                "web_search_options": {
                    "user_location": {"type": "approximate", "approximate": {"city": "Probe"}}
                }
            }
        },
        ("Probe",),
    ),
)
REQUESTS = (*ROWS, *MORE)
