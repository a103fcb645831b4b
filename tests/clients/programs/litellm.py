"""LiteLLM as a client: whole and streamed."""

import json
import sys

import litellm

asked = {
    "model": "openai/auto",
    "messages": [{"role": "user", "content": sys.argv[1]}],
    "max_tokens": 500,
}
whole = litellm.completion(**asked)
chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
streamed = litellm.stream_chunk_builder(chunks)
used = [whole.usage, streamed.usage]
told = {
    "texts": [
        whole.choices[0].message.content,
        streamed.choices[0].message.content,
    ],
    "input_tokens": sum(one.prompt_tokens for one in used),
    "output_tokens": sum(one.completion_tokens for one in used),
}
try:
    litellm.completion(**asked)
except litellm.exceptions.APIError as error:
    told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
print(json.dumps(told))
