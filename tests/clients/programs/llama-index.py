"""LlamaIndex's OpenAILike: a whole answer and a streamed one."""

import json
import os
import sys

import openai
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model="auto",
    api_base=os.environ["OPENAI_BASE_URL"],
    is_chat_model=True,
    context_window=100_000,
    max_tokens=500,
)
asked = [ChatMessage(role="user", content=sys.argv[1])]
whole = model.chat(asked)
streamed = list(model.stream_chat(asked))[-1]
told = {"texts": [whole.message.content, streamed.message.content]}
try:
    model.chat(asked)
except openai.APIStatusError as error:
    told |= {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
print(json.dumps(told))
