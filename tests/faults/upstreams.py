"""Gateways in front of upstreams that misbehave, and what must hold of them afterwards."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.journeys.gateway_process import GatewayProcess, assert_clean, wait_for

TINY = """\
price = { input = "1", output = "2" }
context_tokens = 100_000
max_output_tokens = 4_096
"""


def provider(name: str, base_url: str, timeouts: str = "", keys: str = "") -> str:
    """One `[providers.NAME]` over HTTP; `timeouts` is an inline table's content."""
    return f"""\
[providers.{name}]
kind = "openai_http"
base_url = "{base_url}"
timeouts = {{ {timeouts} }}
{keys}
"""


def model(name: str, **at: str) -> str:
    """One `[models.NAME]` with a provider, or with `deployments` and a balance as TOML."""
    keys = "\n".join(f"{key} = {value}" for key, value in at.items())
    return f"[models.{name}]\n{keys}\n{TINY}"


def tier(*models: str, policy: str = "") -> str:
    listed = ", ".join(f'"{name}"' for name in models)
    return f'[tiers.small]\nmodels = [{listed}]\n[policies.default]\ntier = "small"\n{policy}\n'


@contextmanager
def unanswered() -> Iterator[str]:
    """The base URL of a port that takes no connection: its queue is full and nobody accepts."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/v1"


@contextmanager
def refused() -> Iterator[str]:
    """The base URL of a port where nobody listens; it stays taken meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def metric(weir: GatewayProcess, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric, by the values of its labels in their order."""
    text = weir.ask("GET", "/metrics", Authorization=f"Bearer {weir.admin_key}").body.decode()
    found: dict[tuple[str, ...], float] = {}
    for line in text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            labels, _, value = line.rpartition(" ")
            parts = labels.partition("{")[2].rstrip("}").split(",")
            found[tuple(part.partition("=")[2].strip('"') for part in parts if part)] = float(value)
    return found


def holds(weir: GatewayProcess) -> float:
    """How many holds are open."""
    return metric(weir, "weir_ledger_open_holds")[()]


def assert_at_rest(weir: GatewayProcess) -> dict[str, Any]:
    """Nothing is held, nothing is under way, and the books agree; the audit's report."""
    wait_for(lambda: holds(weir) == 0, "the last hold ends")
    wait_for(lambda: metric(weir, "weir_requests_in_flight")[()] == 0, "the last request ends")
    return assert_clean(weir)
