"""The OpenAI Agents SDK: an agent with a tool, over the Responses API, whole and streamed."""

import asyncio
import json
import sys
from pathlib import Path

import openai
from agents import Agent, Runner, function_tool


@function_tool
def write_file(path: str, text: str) -> str:
    """Write a file."""
    Path(path).write_text(text)
    return "written"


agent = Agent(name="writer", instructions="Do it.", model="auto", tools=[write_file])


async def work() -> dict[str, object]:
    whole = await Runner.run(agent, sys.argv[1])
    streamed = Runner.run_streamed(agent, sys.argv[1])
    async for _ in streamed.stream_events():
        pass
    used = [whole.context_wrapper.usage, streamed.context_wrapper.usage]
    told = {
        "texts": [whole.final_output, streamed.final_output],
        "input_tokens": sum(one.input_tokens for one in used),
        "output_tokens": sum(one.output_tokens for one in used),
    }
    try:
        await Runner.run(agent, sys.argv[1])
    except openai.APIStatusError as error:
        told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
    return told


print(json.dumps(asyncio.run(work())))
