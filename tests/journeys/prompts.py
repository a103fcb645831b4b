"""A prompt, and its size for a provider that counts with the vocabulary of the gateway."""

import asyncio

from gateway.dialects.port import InputParts
from gateway.tokenizer import Tokenizer

MESSAGE = "Which way does the water run?"
MESSAGES = [{"role": "user", "content": MESSAGE}]
# What the gateway takes the prompt for where no provider has told it.
COUNTED_TOKENS = asyncio.run(Tokenizer().count_prompt(InputParts(MESSAGES, {}, len(MESSAGES))))
