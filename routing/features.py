"""What a chat-completions request looks like, in numbers, without judging it.

`extract` reads the parsed body once and never raises: a field of an unexpected shape counts as
absent, because required fields are validated elsewhere. The sizes cover the whole request; words
are only looked for in a bounded piece of it, so a huge prompt costs little more than a small one.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import orjson

from budgets.value import value
from routing.tokens import FLAT_TABLE, text_tokens, utf8_size

USER_HEAD_CHARS = 2_048
USER_TAIL_CHARS = 1_024
SYSTEM_HEAD_CHARS = 400
ZONE_HEAD_BYTES = 400
ZONE_TAIL_BYTES = 240
SAMPLE_CHARS = 1_024
MAX_COUNT = 1_000_000_000

MESSAGE_OVERHEAD_TOKENS = 4
REPLY_PRIMING_TOKENS = 3
TOOL_BYTES_PER_TOKEN = 4.0
IMAGE_TOKENS = 765
FILE_CHARS_PER_TOKEN = 4
AUDIO_CHARS_PER_TOKEN = 2_000
PROSE_BRACKETS = 0.03

_SYSTEM_ROLES = ("system", "developer")
_TOOL_ROLES = ("tool", "function")
_IMAGE_PARTS = frozenset({"image_url", "input_image", "image"})
_AUDIO_PARTS = frozenset({"input_audio", "audio"})
_FILE_PARTS = frozenset({"file", "input_file", "document"})
_STRUCTURED_FORMATS = frozenset({"json_schema", "json_object"})
_NO_REASONING = frozenset({"", "none", "minimal"})
_REASONING_PHRASES = (b"step by step", b"chain of thought", b"think carefully", b"think hard")
_CODE_MARKS = (
    b"def ",
    b"class ",
    b"import ",
    b"return ",
    b"function",
    b"();",
    b"=>",
    b"SELECT ",
    b"#include",
)
_TEX_MARKS = (
    b"\\frac",
    b"\\sqrt",
    b"\\sum",
    b"\\int",
    b"\\(",
    b"\\[",
    b"\\le",
    b"\\cdot",
    b"\\begin",
)
_CODE_PUNCTUATION = b"(){}[];=<>_"
_MATH_PUNCTUATION = b"$^\\=+"
_LEADS = {
    "cjk": bytes(range(0xE3, 0xEE)),
    "cyrillic": bytes(range(0xD0, 0xD5)),
    "other": b"\xce\xcf" + bytes(range(0xD5, 0xE2)),
}
_NOT_A_LATIN_LETTER = bytes(c for c in range(256) if not (c < 128 and chr(c).isalpha()))


@value
class TextView:
    """The bounded piece of a request that is searched for words; it is never stored.

    `user` is the start and the end of the last user message in UTF-8, `user_flat` the same in
    lower case, with digits as `0` and punctuation as spaces, byte for byte. Instructions stand at
    the edges of a prompt, so `zone` holds only the edges of `user_flat`; `system_flat` is the start
    of the first system message.
    """

    user: bytes
    user_flat: bytes
    zone: bytes
    system_flat: bytes


@value
class Features:
    """One request in numbers. `*_bytes` are UTF-8, scores lie between 0 and 1.

    `prompt_tokens` is an estimate, good for routing and context checks, never for money.
    `max_output_tokens` is the smaller of the client's caps, None where it sets none.
    `script` is `latin`, `cjk`, `cyrillic` or `other`, after the last user message.
    """

    prompt_bytes: int = 0
    prompt_tokens: int = 0
    messages: int = 0
    turns: int = 0
    system_bytes: int = 0
    last_user_text_bytes: int = 0
    tools: int = 0
    tool_results: int = 0
    schema: bool = False
    code: float = 0.0
    math: float = 0.0
    digits: int = 0
    images: int = 0
    audio: int = 0
    files: int = 0
    reasoning_asked: bool = False
    max_output_tokens: int | None = None
    n: int = 1
    stream: bool = False
    script: str = "latin"


class _Walk:
    """Running totals over the messages; lives for one `extract`."""

    __slots__ = (
        "audio",
        "audio_chars",
        "file_chars",
        "files",
        "images",
        "last_user",
        "longest",
        "system",
        "system_bytes",
        "text_bytes",
        "tool_results",
        "turns",
        "user_bytes",
    )

    def __init__(self) -> None:
        self.text_bytes = self.system_bytes = self.user_bytes = 0
        self.turns = self.tool_results = 0
        self.images = self.audio = self.files = self.audio_chars = self.file_chars = 0
        self.longest = ""
        self.last_user: object = None
        self.system: object = None

    def messages(self, messages: Sequence[object]) -> None:
        for message in messages:
            if not isinstance(message, dict):
                continue
            role = message.get("role")
            content = message.get("content")
            size = self._text(content) if isinstance(content, str) else self._parts(content)
            if role == "user":
                self.turns += 1
                self.last_user = content
                self.user_bytes = size
            elif role in _SYSTEM_ROLES:
                self.system_bytes += size
                self.system = content if self.system is None else self.system
            elif role in _TOOL_ROLES:
                self.tool_results += 1
            elif "tool_calls" in message:
                self._calls(message["tool_calls"])

    def _text(self, text: str) -> int:
        size = utf8_size(text)
        self.text_bytes += size
        if len(text) > len(self.longest):
            self.longest = text
        return size

    def _parts(self, content: object) -> int:
        """Count a content given as parts; return the size of its text."""
        size = 0
        for part in content if isinstance(content, list) else ():
            if isinstance(part, str):
                size += self._text(part)
            elif isinstance(part, dict):
                text = part.get("text")
                if isinstance(text, str):
                    size += self._text(text)
                else:
                    self._media(part)
        return size

    def _media(self, part: Mapping[str, object]) -> None:
        kind = part.get("type")
        if not isinstance(kind, str):
            return
        if kind in _IMAGE_PARTS:
            self.images += 1
        elif kind in _AUDIO_PARTS:
            self.audio += 1
            self.audio_chars += _data_chars(part, "input_audio", "data")
        elif kind in _FILE_PARTS:
            self.files += 1
            self.file_chars += _data_chars(part, "file", "file_data")

    def _calls(self, calls: object) -> None:
        """Count the arguments of an assistant's earlier tool calls."""
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            if isinstance(arguments, str):
                self._text(arguments)


def _data_chars(part: Mapping[str, object], field: str, inner: str) -> int:
    holder = part.get(field)
    data = holder.get(inner) if isinstance(holder, dict) else None
    return len(data) if isinstance(data, str) else 0


def _prompt_tokens(walk: _Walk, messages: int, tool_bytes: int) -> int:
    """The whole prompt at the density of its longest text, with what frames each message."""
    tokens = MESSAGE_OVERHEAD_TOKENS * messages + REPLY_PRIMING_TOKENS + IMAGE_TOKENS * walk.images
    sample = walk.longest[:SAMPLE_CHARS]
    if sample:
        tokens += ceil(text_tokens(sample) / utf8_size(sample) * walk.text_bytes)
    return (
        tokens
        + ceil(tool_bytes / TOOL_BYTES_PER_TOKEN)
        + walk.file_chars // FILE_CHARS_PER_TOKEN
        + walk.audio_chars // AUDIO_CHARS_PER_TOKEN
    )


def _joined(content: object) -> str:
    if isinstance(content, list):
        texts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _text_view(walk: _Walk) -> TextView:
    user = _joined(walk.last_user)
    if len(user) > USER_HEAD_CHARS + USER_TAIL_CHARS:
        user = f"{user[:USER_HEAD_CHARS]}\n{user[-USER_TAIL_CHARS:]}"
    raw = user.encode("utf-8", "surrogatepass")
    flat = raw.translate(FLAT_TABLE)
    zone = flat
    if len(flat) > ZONE_HEAD_BYTES + ZONE_TAIL_BYTES:
        zone = flat[:ZONE_HEAD_BYTES] + b" " + flat[-ZONE_TAIL_BYTES:]
    system = _joined(walk.system)[:SYSTEM_HEAD_CHARS]
    system_flat = system.encode("utf-8", "surrogatepass").translate(FLAT_TABLE)
    return TextView(raw, flat, zone, system_flat)


def _json_bytes(value: object) -> int:
    """Size of a value as JSON; 0 for what JSON writers refuse (depth, huge integers)."""
    if not value:
        return 0
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return 0


def _positive(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return None
    return min(value, MAX_COUNT)


def _max_output_tokens(body: Mapping[str, object]) -> int | None:
    old = _positive(body.get("max_tokens"))
    new = _positive(body.get("max_completion_tokens"))
    if old is None or new is None:
        return new if old is None else old
    return min(old, new)


def _reasoning_asked(body: Mapping[str, object], text: TextView) -> bool:
    effort = body.get("reasoning_effort")
    if isinstance(effort, str) and effort not in _NO_REASONING:
        return True
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict):
        effort = reasoning.get("effort")
        if effort not in _NO_REASONING if isinstance(effort, str) else reasoning.get("enabled"):
            return True
    return any(phrase in text.zone for phrase in _REASONING_PHRASES)


def _code_score(user: bytes) -> float:
    """How much the text looks like program code: a fence counts most, single marks add up."""
    score = 0.6 if b"```" in user else 0.0
    # Prose has at most a few; counting them once spares it the search for marks.
    brackets = len(user) - len(user.translate(None, _CODE_PUNCTUATION))
    if brackets > PROSE_BRACKETS * len(user):
        score += min(0.3, 5 * (brackets / len(user) - PROSE_BRACKETS))
        score += 0.2 * sum(mark in user for mark in _CODE_MARKS)
    return min(1.0, score)


def _math_score(user: bytes) -> float:
    """How much the text looks like mathematics: TeX first, then operators for their number."""
    if len(user) == len(user.translate(None, _MATH_PUNCTUATION)):
        return 0.0
    score = 0.2 * min(3, user.count(b"$") // 2) + 0.1 * min(4, user.count(b"^"))
    if b"\\" in user:
        score += 0.25 * sum(mark in user for mark in _TEX_MARKS)
    score += 0.05 * min(4, user.count(b" = ") + user.count(b" + "))
    return min(1.0, score)


def _script(user: bytes) -> str:
    """The script most letters belong to, told from the lead bytes of UTF-8."""
    if user.isascii():
        return "latin"
    letters = len(user.translate(None, _NOT_A_LATIN_LETTER))
    counts = {name: len(user) - len(user.translate(None, lead)) for name, lead in _LEADS.items()}
    name = max(counts, key=lambda script: counts[script])
    return name if counts[name] * 4 > letters else "latin"


def extract_with_text(body: Mapping[str, object]) -> tuple[Features, TextView]:
    """The features of a chat-completions body, and the piece of text they were read from."""
    messages = body.get("messages")
    walk = _Walk()
    count = 0
    if isinstance(messages, list):
        count = len(messages)
        walk.messages(messages)
    text = _text_view(walk)
    tools = body.get("tools") or body.get("functions")
    response_format = body.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    tool_bytes = _json_bytes(tools) + (_json_bytes(response_format) if kind else 0)
    features = Features(
        prompt_bytes=walk.text_bytes + tool_bytes,
        prompt_tokens=_prompt_tokens(walk, count, tool_bytes),
        messages=count,
        turns=walk.turns,
        system_bytes=walk.system_bytes,
        last_user_text_bytes=walk.user_bytes,
        tools=len(tools) if isinstance(tools, list) else 0,
        tool_results=walk.tool_results,
        schema=isinstance(kind, str) and kind in _STRUCTURED_FORMATS,
        code=_code_score(text.user),
        math=_math_score(text.user),
        digits=text.user_flat.count(b"0"),
        images=walk.images,
        audio=walk.audio,
        files=walk.files,
        reasoning_asked=_reasoning_asked(body, text),
        max_output_tokens=_max_output_tokens(body),
        n=_positive(body.get("n")) or 1,
        stream=body.get("stream") is True,
        script=_script(text.user),
    )
    return features, text


def extract(body: Mapping[str, object]) -> Features:
    """The features of a chat-completions body."""
    return extract_with_text(body)[0]
