"""smolagents: an agent whose last tool call is its answer."""

import json
import sys

from smolagents import OpenAIModel, ToolCallingAgent
from smolagents.utils import AgentError

agent = ToolCallingAgent(
    tools=[], model=OpenAIModel(model_id="auto"), max_steps=2, verbosity_level=0
)
answer = agent.run(sys.argv[1])
counts = agent.monitor.get_total_token_counts()
told = {
    "texts": [answer],
    "input_tokens": counts.input_tokens,
    "output_tokens": counts.output_tokens,
}
try:
    agent.run(sys.argv[1])
except AgentError as error:
    cause = error.__cause__
    told |= {"error": type(error).__name__, "message": str(error)}
    told["status"] = getattr(cause, "status_code", None)
print(json.dumps(told))
