"""Posts JSON to one address that somebody configured; what is said of a failure never shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to post, and how patiently. The URL may hold a secret: it is never logged."""

    url: str
    timeout_s: float
    attempts: int


class Webhook:
    """Connections to a receiver, opened with the first thing there is to tell."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._session: aiohttp.ClientSession | None = None

    @property
    def attempts(self) -> int:
        """How often one thing is to be told before it is given up."""
        return self._receiver.attempts

    @property
    def timeout_s(self) -> float:
        """How long one post may take."""
        return self._receiver.timeout_s

    async def post(self, payload: Mapping[str, object], idempotency_key: str) -> str | None:
        """None where the receiver took it (2xx), else why not; redirects are not followed."""
        # Imported here because most gateways have nobody to tell, and it is large.
        import aiohttp  # noqa: PLC0415

        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.post(
                self._receiver.url,
                json=payload,
                headers={"Idempotency-Key": idempotency_key},
                timeout=aiohttp.ClientTimeout(total=self._receiver.timeout_s),
                allow_redirects=False,
            ) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
