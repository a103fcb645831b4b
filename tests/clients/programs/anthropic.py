"""The Anthropic SDK: a whole message, a streamed one, a count of tokens, and the list of models."""

import json
import sys

import anthropic

client = anthropic.Anthropic()
messages = [{"role": "user", "content": sys.argv[1]}]
asked = {"model": "auto", "max_tokens": 500, "messages": messages}
whole = client.messages.create(**asked)
with client.messages.stream(**asked) as stream:
    streamed = stream.get_final_message()
counted = client.messages.count_tokens(model="auto", messages=messages)
told = {
    "texts": [whole.content[0].text, streamed.content[0].text],
    "models": [model.id for model in client.models.list()],
    "counted": counted.input_tokens == whole.usage.input_tokens,
    "input_tokens": whole.usage.input_tokens + streamed.usage.input_tokens,
    "output_tokens": whole.usage.output_tokens + streamed.usage.output_tokens,
}
try:
    client.messages.create(**asked)
except anthropic.APIStatusError as error:
    told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
print(json.dumps(told))
