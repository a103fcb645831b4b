"""One connection to Redis, in order: what is asked while an answer is under way travels together.

Every call ends within the timeout, counted from when it was asked: with an answer, or with a
LedgerError. Time in which this process stood still is not Redis' to answer for, and is added, up
to the timeout once more. A failure fails everything that waits, drops the connection, and the next
call begins anew. Nothing is sent twice, but for calls that Redis says it has not carried out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from budgets.ledger import LedgerError
from budgets.stores.redis_life import (
    LedgerFullError,
    LedgerReadOnlyError,
    LedgerUnreachableError,
)
from budgets.stores.redis_scripts import Keys, Packer, pack
from budgets.stores.redis_wire import Answer

MAX_BATCH = 64
IDLE_S = 1.0
# A timer that fires so much too late was not waited for: nothing at all ran.
STALL_S = 0.02
Greeting = Callable[[AbstractConnection], Awaitable[bytes]]
"""What a new connection begins with: load the scripts, check the life; gives its epoch."""


@dataclass(slots=True)
class _Call:
    """A script with its arguments but for the epoch, and who waits for it."""

    script: str
    arguments: tuple[bytes, ...]
    asked_s: float
    answer: "asyncio.Future[Answer]"


async def command(connection: AbstractConnection, *arguments: bytes) -> Any:
    """One plain command and its answer."""
    await connection.send_packed_command(pack(arguments), check_health=False)
    return await connection.read_response()


class Lane:
    """Calls of the ledger's scripts; use it from one event loop."""

    def __init__(self, url: str, keys: Keys, timeout_s: float, greeting: Greeting) -> None:
        """Connect with the first call; raise LedgerError for an address that is none."""
        try:
            pool = ConnectionPool.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=None,
                socket_connect_timeout=timeout_s,
                maint_notifications_config=None,
            )
            self._connection: AbstractConnection = _disconnected(pool)
        except (ValueError, RedisError) as error:
            raise LedgerError(f"not an address of a Redis server: {error}") from error
        self._packer = Packer(keys)
        self._timeout_s = timeout_s
        self._greeting = greeting
        self._epoch = b""
        self._greeted = False
        self._used_s = 0.0
        self._waiting: list[_Call] = []
        self._work: asyncio.Task[None] | None = None

    def call(self, script: str, *arguments: bytes) -> "asyncio.Future[Answer]":
        """The answer of a script; LedgerUnreachableError where there is none in time."""
        loop = asyncio.get_running_loop()
        call = _Call(script, arguments, loop.time(), loop.create_future())
        self._waiting.append(call)
        if self._work is None:
            self._work = loop.create_task(self._drain())
        return call.answer

    @property
    def epoch(self) -> str:
        """The life of the ledger in which calls are made now."""
        return self._epoch.decode()

    async def greet(self) -> None:
        """Have a connection that was greeted; raise LedgerError where there can be none."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.connected()
        except (RedisError, OSError, TimeoutError, LedgerError) as error:
            await self._drop()
            raise _failure(error) from error

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                async with _Deadline(batch[0].asked_s + self._timeout_s, self._timeout_s):
                    await self._exchange(batch)
            except (RedisError, OSError, TimeoutError, LedgerError) as error:
                await self._drop()
                failed, self._waiting = [*batch, *self._waiting], []
                for call in failed:
                    if not call.answer.done():
                        call.answer.set_exception(_failure(error))
        self._work = None

    async def _exchange(self, batch: list[_Call]) -> None:
        """Send a batch and hand out the answers; once more for what was not carried out."""
        for _ in range(2):
            connection = await self.connected()
            calls = [self._packer.call(c.script, (self._epoch, *c.arguments)) for c in batch]
            await connection.send_packed_command(b"".join(calls), check_health=False)
            batch = [call for call in batch if not await self._hand_out(connection, call)]
            self._used_s = asyncio.get_running_loop().time()
            if not batch:
                return
            await self._drop()  # the greeting loads the scripts and learns of another epoch
        raise LedgerUnreachableError("Redis forgot the ledger's scripts, or its epoch, twice")

    async def _hand_out(self, connection: AbstractConnection, call: _Call) -> bool:
        """Read one answer; False where the call was not carried out for want of a greeting."""
        try:
            answer = cast(Answer, await connection.read_response())
        except NoScriptError:
            return False
        except ReadOnlyError as error:
            # Another server may have become the primary, so the next call looks for it.
            self._greeted = False
            _fail(call, error)
            return True
        except ResponseError as error:
            _fail(call, error)
            return True
        if answer[0] == b"lost":
            return False
        if not call.answer.done():
            call.answer.set_result(answer)
        return True

    async def connected(self) -> AbstractConnection:
        """The connection, greeted; while no call is under way it is the caller's."""
        connection = self._connection
        if self._greeted and connection.is_connected:
            idle_s = asyncio.get_running_loop().time() - self._used_s
            if idle_s < IDLE_S or not await self._is_over(connection):
                return connection
        await self._drop()
        await connection.connect_check_health(check_health=False)
        self._epoch = await self._greeting(connection)
        self._greeted = True
        self._used_s = asyncio.get_running_loop().time()
        return connection

    async def _is_over(self, connection: AbstractConnection) -> bool:
        """Whether the other side has hung up (or says what nobody asked) while nothing was sent."""
        try:
            return bool(await connection.can_read_destructive())
        except (RedisError, OSError):
            return True

    async def _drop(self) -> None:
        self._greeted = False
        with suppress(RedisError, OSError):
            await self._connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Let what is under way end, then hang up."""
        if self._work is not None:
            await asyncio.wait([self._work])
        await self._drop()


class _Deadline:
    """Raises TimeoutError in its block at a time of the loop, later where the loop stood still."""

    __slots__ = ("_due_s", "_limit", "_spare_s", "_timer")

    def __init__(self, due_s: float, spare_s: float) -> None:
        self._due_s = due_s
        self._spare_s = spare_s
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._timer = asyncio.get_running_loop().call_at(self._due_s, self._fire)

    def _fire(self) -> None:
        now_s = asyncio.get_running_loop().time()
        late_s = min(now_s - self._due_s, self._spare_s)
        # Where nothing ran for a while, an answer may lie unread; it has that time once more.
        self._limit.reschedule(now_s if late_s < STALL_S else now_s + late_s)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)


def _disconnected(pool: Any) -> AbstractConnection:
    return cast(AbstractConnection, pool.make_connection())


def _fail(call: _Call, error: ResponseError) -> None:
    if not call.answer.done():
        call.answer.set_exception(_failure(error))


def _failure(error: BaseException) -> LedgerError:
    if isinstance(error, LedgerError):
        return type(error)(*error.args)  # one for each waiter: each adds its own traceback
    if isinstance(error, TimeoutError):
        return LedgerUnreachableError("Redis did not answer in time")
    if isinstance(error, ReadOnlyError):
        return LedgerReadOnlyError(f"Redis refused: {error}")
    if isinstance(error, OutOfMemoryError):
        return LedgerFullError(f"Redis refused: {error}")
    if isinstance(error, ResponseError):
        return LedgerUnreachableError(f"Redis refused: {error}")
    return LedgerUnreachableError(f"Redis cannot be reached: {error}")
