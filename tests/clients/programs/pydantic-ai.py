"""Pydantic AI: an agent with a tool, over chat completions and over responses."""

import json
import sys
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError


def write_file(path: str, text: str) -> str:
    """Write a file."""
    Path(path).write_text(text)
    return "written"


chat = Agent("openai-chat:auto", tools=[write_file])
responses = Agent("openai-responses:auto", tools=[write_file])
results = [agent.run_sync(sys.argv[1]) for agent in (chat, responses)]
told = {
    "texts": [result.output for result in results],
    "input_tokens": sum(result.usage.input_tokens for result in results),
    "output_tokens": sum(result.usage.output_tokens for result in results),
}
try:
    chat.run_sync(sys.argv[1])
except ModelHTTPError as error:
    told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
print(json.dumps(told))
