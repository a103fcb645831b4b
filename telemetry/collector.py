"""Moves events from the ledger's outbox into the warehouse: each one, once.

The outbox is trimmed only after the warehouse has committed, and the warehouse keeps how far it
has read beside what it has read. So whichever process dies when, the next start finds every event
in one of the two places, and an event found in both is recognised.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from budgets.port import OutboxRow
from telemetry.warehouse import Warehouse

SOURCE = "ledger"
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectorState:
    """How the collector is doing, for readiness and the admin page.

    `waiting_rows` is a lower bound: it counts the batch in hand, 0 once the outbox was seen empty.
    `behind_ms` is the time since the outbox was last seen empty.
    """

    running: bool
    last_seq: int
    collected_rows: int
    waiting_rows: int
    behind_ms: int
    last_batch_rows: int
    last_batch_ms: float
    failures_in_a_row: int
    last_error: str


class Collector:
    """One thread; `start` it, `stop` it, and `flush` where a reader must see everything.

    `outbox_after(seq, limit)` reads the ledger's outbox and is callable from any thread.
    `trim(seq)` is told what the warehouse holds; it is called from the thread that collects (the
    collector's own, or the one that flushes) and must not block.
    """

    def __init__(
        self,
        outbox_after: Callable[[int, int], Sequence[OutboxRow]],
        warehouse: Warehouse,
        trim: Callable[[int], None],
        *,
        batch_rows: int = 1_000,
        batch_ms: int = 300,
    ) -> None:
        self._outbox_after = outbox_after
        self._warehouse = warehouse
        self._trim = trim
        self._batch_rows = batch_rows
        self._batch_s = batch_ms / 1000
        self._batch_lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._resumed = False
        self._empty_at_s = time.monotonic()
        self._state = CollectorState(False, 0, 0, 0, 0, 0, 0.0, 0, "")

    @property
    def state(self) -> CollectorState:
        state = self._state
        behind_s = time.monotonic() - self._empty_at_s
        alive = self._thread is not None and self._thread.is_alive()
        # Between two looks at an outbox that keeps up, nothing is known to wait.
        late = state.waiting_rows > 0 or state.failures_in_a_row > 0
        return replace(state, running=alive, behind_ms=int(behind_s * 1000) if late else 0)

    def start(self) -> None:
        """Begin to collect."""
        self._thread = threading.Thread(target=self._work, name="weir-collector", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float = 10.0) -> bool:
        """End the thread and collect what is left; False where the deadline came first.

        What is not collected stays in the outbox for the next start.
        """
        until_s = time.monotonic() + deadline_s
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(deadline_s)
            if self._thread.is_alive():
                return False
        return self.flush(until_s - time.monotonic())

    def flush(self, deadline_s: float) -> bool:
        """Collect, in the calling thread, everything the outbox holds now.

        False where the deadline came first or a batch failed (`state.last_error` tells).
        """
        until_s = time.monotonic() + deadline_s
        if not self._batch_lock.acquire(timeout=max(0.0, deadline_s)):
            return False
        try:
            return self._supervise(lambda: time.monotonic() > until_s)
        finally:
            self._batch_lock.release()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No batch is under way inside the block; events wait in the outbox. Do not flush in it."""
        with self._batch_lock:
            yield

    def _work(self) -> None:
        while not self._stopping.is_set():
            with self._batch_lock:
                self._supervise(self._stopping.is_set)
            self._stopping.wait(self._pause_s())

    def _pause_s(self) -> float:
        failures = self._state.failures_in_a_row
        if failures == 0:
            return self._batch_s
        return float(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures - 1, 10)))

    def _supervise(self, enough: Callable[[], bool]) -> bool:
        """Drain, and outlive whatever goes wrong: the events are still in the outbox."""
        try:
            emptied = self._drain(enough)
        except Exception as error:  # a supervisor: no fault of a file may end the collecting
            failures = self._state.failures_in_a_row + 1
            self._state = replace(
                self._state, failures_in_a_row=failures, last_error=f"{error}"[:500]
            )
            _LOG.warning("collecting failed %d times in a row: %s", failures, error)
            return False
        self._state = replace(self._state, failures_in_a_row=0)
        return emptied

    def _drain(self, enough: Callable[[], bool]) -> bool:
        """Batch after batch until the outbox is empty (True) or it is enough (False)."""
        if not self._resumed:
            self._resume()
        while True:
            rows = self._outbox_after(self._state.last_seq, self._batch_rows)
            self._state = replace(self._state, waiting_rows=len(rows))
            if rows:
                self._collect(rows)
            if len(rows) < self._batch_rows:
                self._empty_at_s = time.monotonic()
                return True
            if enough():
                return False

    def _collect(self, rows: Sequence[OutboxRow]) -> None:
        started_s = time.monotonic()
        last_seq = self._warehouse.insert_batch(SOURCE, [(row.seq, row.payload) for row in rows])
        self._state = replace(
            self._state,
            last_seq=last_seq,
            collected_rows=self._state.collected_rows + len(rows),
            waiting_rows=0,
            last_batch_rows=len(rows),
            last_batch_ms=(time.monotonic() - started_s) * 1000,
        )
        self._trim(last_seq)

    def _resume(self) -> None:
        """Go on after the last row the warehouse holds, if this is still the same outbox.

        A data directory may have been put together from two: a new ledger counts from 1 again,
        and by number alone its events would pass for collected. So what is left of the outbox is
        checked by event id, and where any is missing the outbox is read from its start.
        """
        last_seq = self._warehouse.last_seq(SOURCE)
        if last_seq and not self._holds_all_up_to(last_seq):
            _LOG.warning("the outbox is not the one collected before; reading it from its start")
            self._warehouse.rewind(SOURCE)
            last_seq = 0
        self._state = replace(self._state, last_seq=last_seq)
        self._resumed = True
        if last_seq:
            self._trim(last_seq)

    def _holds_all_up_to(self, last_seq: int) -> bool:
        seq = 0
        while rows := self._outbox_after(seq, self._batch_rows):
            ids = [row.event_id for row in rows if row.seq <= last_seq]
            if len(self._warehouse.known_ids(ids)) < len(set(ids)):
                return False
            seq = rows[-1].seq
            if seq >= last_seq:
                break
        return True
