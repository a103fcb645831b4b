"""What stands before a provider has its name and its life."""

from gateway.providers.before import Before
from gateway.providers.script import Script
from gateway.providers.scripted import ScriptedProvider
from tests.contracts.upstreams import run


def test_it_starts_is_ready_and_stops_with_the_one_behind_it() -> None:
    async def scenario() -> None:
        behind = ScriptedProvider("up", Script())
        before = Before(behind)
        assert (before.name, before.ready) == ("up", behind.ready)
        await before.start()
        assert before.ready and behind.ready
        await before.stop()
        assert before.ready is behind.ready

    run(scenario())
