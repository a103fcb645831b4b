"""Whether a gateway can use all its connections to an upstream at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.journeys.gateway_process import GatewayProcess, wait_for
from tests.journeys.prompts import MESSAGE
from tests.journeys.upstream import Upstream


def assert_every_connection_can_be_used(
    weir: GatewayProcess, up: Upstream, client_ids: Sequence[str]
) -> None:
    """No hang-up took a place in the pool of connections with it: so many answers at once wait."""
    up.gate.clear()
    with ThreadPoolExecutor(len(client_ids)) as pool:
        asked = [
            pool.submit(weir.chat, MESSAGE, headers={"x-client-request-id": client_id})
            for client_id in client_ids
        ]
        wait_for(lambda: up.answering == len(client_ids), "all are sent at once")
        up.gate.set()
        assert {answer.result().status for answer in asked} == {200}
