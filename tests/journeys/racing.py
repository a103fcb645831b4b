"""Many callers at once, each as patient as an SDK that never gives up."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.journeys.gateway_process import Answer, GatewayProcess
from tests.journeys.prompts import MESSAGE


def persistent(weir: GatewayProcess, **fields: Any) -> Answer:
    """Ask as an SDK does that never gives up: a 429 is tried again when its header says."""
    while (answer := weir.chat(MESSAGE, **dict(fields))).status == 429:
        assert (answer.error["code"], answer.headers["x-should-retry"]) == ("budget_busy", "true")
        time.sleep(int(answer.headers["retry-after"]))
    return answer


def race(asked: int, ask: Callable[[int], Answer]) -> list[Answer]:
    """So many callers at once; each is given its number."""
    with ThreadPoolExecutor(asked) as pool:
        return list(pool.map(ask, range(asked)))
