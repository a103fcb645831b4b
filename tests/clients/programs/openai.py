"""The OpenAI SDK: a whole chat completion, a streamed one, a response, and the list of models."""

import json
import sys

import openai

client = openai.OpenAI()
asked = {
    "model": "auto",
    "messages": [{"role": "user", "content": sys.argv[1]}],
    "max_tokens": 500,
}
whole = client.chat.completions.create(**asked)
chunks = list(
    client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
)
response = client.responses.create(model="auto", input=sys.argv[1], max_output_tokens=500)
used = [whole.usage, chunks[-1].usage]
told = {
    "texts": [
        whole.choices[0].message.content,
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        response.output_text,
    ],
    "models": [model.id for model in client.models.list()],
    "input_tokens": sum(one.prompt_tokens for one in used) + response.usage.input_tokens,
    "output_tokens": sum(one.completion_tokens for one in used) + response.usage.output_tokens,
}
try:
    client.chat.completions.create(**asked)
except openai.APIStatusError as error:
    told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
print(json.dumps(told))
