"""What holds for every test: nothing is fetched from anywhere; and the servers many of them use."""

import os
from collections.abc import Iterator

import pytest

from tests.contracts.redis_server import RedisServer, own_server
from tests.journeys.upstream import Upstream, upstream

# litellm would otherwise ask for its price list over the network when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A redis-server for one test, to do with as it likes."""
    with own_server() as server:
        yield server


@pytest.fixture
def up() -> Iterator[Upstream]:
    """An upstream for one test."""
    with upstream() as server:
        yield server
