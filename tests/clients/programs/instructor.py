"""Instructor: an object that the model fills in through a tool call."""

import json
import sys

import instructor
import openai
from instructor.core import InstructorRetryException
from pydantic import BaseModel


class Note(BaseModel):
    text: str


client = instructor.from_openai(openai.OpenAI())
asked = {
    "model": "auto",
    "response_model": Note,
    "messages": [{"role": "user", "content": sys.argv[1]}],
    "max_tokens": 500,
}
note, completion = client.chat.completions.create_with_completion(**asked)
told = {
    "texts": [note.text],
    "input_tokens": completion.usage.prompt_tokens,
    "output_tokens": completion.usage.completion_tokens,
}
try:
    client.chat.completions.create(**asked)
except InstructorRetryException as error:
    told |= {"error": type(error).__name__, "message": str(error)}
    told["status"] = getattr(error.__cause__, "status_code", None)
except openai.APIStatusError as error:
    told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
print(json.dumps(told))
