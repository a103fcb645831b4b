"""Gateways in front of upstreams that misbehave, and what must hold of them afterwards."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from routing.health import BreakerState
from tests.journeys.gateway_process import GatewayProcess, assert_clean, wait_for
from tests.journeys.scraping import scrape

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


def breaker(weir: GatewayProcess, model: str = "tiny") -> str:
    """The state of the one breaker of a model."""
    found = scrape(weir)
    [state] = [
        state
        for state in BreakerState
        if found.value("weir_breaker_state", model=model, state=state)
    ]
    return state


def assert_at_rest(weir: GatewayProcess) -> dict[str, Any]:
    """Nothing is held, nothing is under way, and the books agree; the audit's report."""
    for name in ("weir_ledger_open_holds", "weir_requests_in_flight"):
        wait_for(lambda name=name: scrape(weir).value(name) == 0, f"{name} is 0 again")  # type: ignore[misc]
    return assert_clean(weir)
