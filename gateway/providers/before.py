"""A provider that stands before another: what it does not do itself, the other one does."""

from gateway.providers.port import Provider


class Before:
    """All of a provider but `open`, as the one behind it has it."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    @property
    def name(self) -> str:
        return self.provider.name

    @property
    def ready(self) -> bool:
        return self.provider.ready

    async def start(self) -> None:
        await self.provider.start()

    async def stop(self) -> None:
        await self.provider.stop()
