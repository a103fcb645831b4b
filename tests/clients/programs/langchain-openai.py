"""LangChain: an answer that calls a tool, the last word after it, and a stream."""

import json
import sys
from pathlib import Path

import openai
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def write_file(path: str, text: str) -> str:
    """Write a file."""
    Path(path).write_text(text)
    return "written"


# Without this it asks for no usage where the address is not the one of OpenAI.
model = ChatOpenAI(model="auto", max_tokens=500, stream_usage=True)
talk = [HumanMessage(sys.argv[1])]
answers = []
while not answers or answers[-1].tool_calls:
    answers.append(model.bind_tools([write_file]).invoke(talk))
    talk.append(answers[-1])
    talk += [write_file.invoke(call) for call in answers[-1].tool_calls]
streamed = None
for chunk in model.stream(sys.argv[1]):
    streamed = chunk if streamed is None else streamed + chunk
used = [one.usage_metadata for one in (*answers, streamed)]
told = {
    "texts": [answers[-1].content, streamed.content],
    "input_tokens": sum(one["input_tokens"] for one in used),
    "output_tokens": sum(one["output_tokens"] for one in used),
}
try:
    model.invoke(talk)
except openai.APIStatusError as error:
    told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
print(json.dumps(told))
