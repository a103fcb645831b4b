"""Bodies shaped like those of coding agents are read, and bounded by what they hold."""

import json
from typing import Any

from gateway.dialects.port import Bounds
from routing.features import extract
from tests.unit.gateway.dialects.requests_made import MESSAGES, RESPONSES

CODEX: dict[str, Any] = {
    "model": "auto",
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [
            {"type": "input_text", "text": "<permissions>read-only</permissions>"}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Fix the failing test."}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAAAABo"},
        {"type": "function_call", "name": "shell", "call_id": "call_1",
         "arguments": '{"command":["ls"]}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "README.md"},
        {"type": "custom_tool_call", "name": "apply_patch", "call_id": "call_2", "input": "***"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Done!"},
    ],
    "tools": [
        {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object"}},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark"}},
        {"type": "namespace", "name": "mcp", "tools": [
            {"type": "function", "name": "f", "parameters": {}}]},
    ],
    "tool_choice": "auto", "parallel_tool_calls": True, "store": False, "stream": True,
    "reasoning": {"effort": "medium"}, "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "019a-thread", "client_metadata": {"x-codex-installation-id": "i"},
    "text": {"verbosity": "low"},
}  # fmt: skip
CLAUDE_CODE: dict[str, Any] = {
    "model": "auto",
    "max_tokens": 32_000,
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>CLAUDE.md</system-reminder>"},
            {"type": "text", "text": "Fix it.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "README.md"}]},
        {"role": "system", "content": "Be brief."},
    ],
    "system": [{"type": "text", "text": "You are Claude Code."}],
    "tools": [{"name": "Bash", "description": "Runs", "input_schema": {"type": "object"}}],
    "metadata": {"user_id": '{"device_id":"d","session_id":"2f1c9e7a-0000-4000"}'},
    "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "stream": True,
}  # fmt: skip


def test_codex_is_read_and_only_its_model_and_limit_change() -> None:
    raw = json.dumps(CODEX).encode()
    request = RESPONSES.read(raw)
    assert RESPONSES.unseen(request) is None
    assert RESPONSES.claims(request).prompt_cache_key == "019a-thread"
    parts = RESPONSES.input_parts(request)
    assert (parts.frames, set(parts.rest)) == (8, {"tools", "tool_choice", "text"})
    features = extract(RESPONSES.chat_view(request))
    assert (features.turns, features.tool_results, features.tools) == (1, 2, 3)
    assert features.reasoning_asked
    sent = RESPONSES.upstream_body(request, "gpt-5", Bounds(4_000))
    assert sent == raw.replace(b'"model": "auto"', b'"model": "gpt-5"')[:-1] + (
        b',"max_output_tokens":4000}'
    )


def test_claude_code_is_read_and_only_its_model_and_limit_change() -> None:
    raw = json.dumps(CLAUDE_CODE).encode()
    request = MESSAGES.read(raw)
    assert MESSAGES.unseen(request) is None
    assert MESSAGES.claims(request).session == "2f1c9e7a-0000-4000"
    assert set(MESSAGES.input_parts(request).rest) == {"tools", "output_config"}
    features = extract(MESSAGES.chat_view(request))
    assert (features.turns, features.tool_results, features.tools) == (1, 1, 1)
    sent = MESSAGES.upstream_body(request, "claude", Bounds(8_000))
    expected = raw.replace(b'"model": "auto"', b'"model": "claude"')
    assert sent == expected.replace(b'"max_tokens": 32000', b'"max_tokens": 8000')
