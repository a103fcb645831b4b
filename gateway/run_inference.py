"""Which run a request belongs to whose client does not say: told from the conversation itself.

Agents send their history again, so a request that goes on from one that was answered before, under
the same key, belongs to the same run. The first request of a conversation looks like a single one;
it is charged as one, and what follows takes its run's name. Requests that only begin alike, as
those of a batch, stay apart: each is a beginning of its own until somebody goes on from it.

What is kept is a number for each request (gateway/turns.py), so long and so many; a key that brings
more than others pushes out its own first.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from gateway.turns import Turns, anchor_of, turns_of

# How many beginnings that are alike can wait for somebody to go on from them.
ALIKE = 16
DAY_S = 86_400


@dataclass(slots=True)
class _Beginning:
    """Requests that began alike: those that nobody went on from yet, and the one last gone on.

    `forgotten` is how many more there were than can wait.
    """

    last: str
    waiting: list[str] = field(default_factory=list)
    forgotten: int = 0

    def add(self, run: str) -> None:
        self.waiting.append(run)
        if len(self.waiting) > ALIKE:
            del self.waiting[0]
            self.forgotten += 1

    def taken(self, own_run: str) -> str:
        """The latest that waits; where none ever did besides, this branches off the last one."""
        if self.waiting:
            self.last = self.waiting.pop()
        elif self.forgotten:
            self.forgotten -= 1
            self.last = own_run
        return self.last


@dataclass(slots=True)
class _Memory:
    """What one caller said lately; every half of the time the older half is dropped."""

    until_s: float
    now: dict[int, str | _Beginning] = field(default_factory=dict)
    before: dict[int, str | _Beginning] = field(default_factory=dict)

    def get(self, sum_: int) -> str | _Beginning | None:
        found = self.now.get(sum_)
        return self.before.get(sum_) if found is None else found

    def __len__(self) -> int:
        return len(self.now) + len(self.before)


class RunInference:
    """Recognises conversations by key. `kept` bounds what is remembered of all keys together.

    What was not gone on from for `idle_s` is forgotten, at half of it at the earliest. With
    `shared` other processes answer requests of the same conversations. Then a run is named by how
    its conversation began, so that all processes give it one name without asking each other; and
    its first request, which was alone by then, keeps a name of its own. Use it from one event loop.
    """

    __slots__ = ("_clock_s", "_half_s", "_kept", "_memories", "_shared", "_size")

    def __init__(
        self,
        kept: int,
        idle_s: int,
        *,
        shared: bool = False,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._kept = kept
        self._half_s = idle_s / 2
        self._shared = shared
        self._clock_s = clock_s
        self._memories: dict[str, _Memory] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def follow(
        self, key: str, said: Sequence[Any], own_run: str, *, retried: bool = False
    ) -> str | None:
        """The run that a request goes on with; None where it begins one, then known as `own_run`.

        `retried`: the client asks the same again because the last answer failed.
        """
        turns = turns_of(said)
        if turns is None:
            return None
        memory = self._memory(key)
        known = memory.get(turns.whole)
        run = known if isinstance(known, str) else self._known(memory, key, said, turns, own_run)
        if run is not None:
            self._keep(memory, turns.whole, run)
            return run
        if not isinstance(known, _Beginning):
            known = _Beginning(own_run)
        elif retried:
            return known.waiting[-1] if known.waiting else known.last
        known.add(own_run)
        self._keep(memory, turns.whole, known)
        return None

    def answered(self, team: str, response_id: str, run: str) -> None:
        """Remember in which run a response was made, for a request that goes on from it by id."""
        if response_id:
            self._keep(self._memory(f"{team}/"), hash(response_id), run)

    def run_of_response(self, team: str, response_id: str) -> str | None:
        """The run in which a team's response was made; None where that is not known."""
        found = self._memory(f"{team}/").get(hash(response_id))
        return found if isinstance(found, str) else None

    def _known(
        self, memory: _Memory, key: str, said: Sequence[Any], turns: Turns, own_run: str
    ) -> str | None:
        """The run of the longest part of a conversation that is known, if any."""
        for before, after in turns.branches:
            found = memory.get(after) or memory.get(before)
            if isinstance(found, str):
                return found
            if isinstance(found, _Beginning):
                run = found.taken(own_run)
                if self._shared:
                    run = self._common_name(memory, key, said) or run
                self._keep(memory, before, found)
                self._keep(memory, after, run)
                return run
        return self._common_name(memory, key, said) if self._shared and turns.branches else None

    def _common_name(self, memory: _Memory, key: str, said: Sequence[Any]) -> str | None:
        """The name that every process gives a conversation that began so on this day.

        None where another one here has it: then the beginning is that of a template, such as
        examples in front of each question, and tells nothing.
        """
        day = int(self._clock_s() // DAY_S)
        begun = b"%d/%b/%b" % (day, key.encode(), anchor_of(said))
        run = f"conv-{hashlib.blake2b(begun, digest_size=16).hexdigest()}"
        if memory.get(hash(run)) is not None:
            return None
        self._keep(memory, hash(run), run)
        return run

    def _memory(self, owner: str) -> _Memory:
        now_s = self._clock_s()
        memory = self._memories.get(owner)
        if memory is None:
            self._forget_idle(now_s)
            memory = self._memories[owner] = _Memory(now_s + self._half_s)
        elif now_s >= memory.until_s:
            self._turn(memory, now_s)
        return memory

    def _turn(self, memory: _Memory, now_s: float) -> None:
        """Drop the older half, and both where even the newer one is too old."""
        self._size -= len(memory)
        memory.before = memory.now if now_s < memory.until_s + self._half_s else {}
        memory.now = {}
        memory.until_s = now_s + self._half_s
        self._size += len(memory)

    def _forget_idle(self, now_s: float) -> None:
        idle = [
            owner
            for owner, memory in self._memories.items()
            if now_s >= memory.until_s + self._half_s
        ]
        for owner in idle:
            self._size -= len(self._memories.pop(owner))

    def _keep(self, memory: _Memory, sum_: int, worth: str | _Beginning) -> None:
        if sum_ not in memory.now:
            self._size += 1
            if memory.before.pop(sum_, None) is not None:
                self._size -= 1
            while self._size > self._kept:
                self._push_out()
        memory.now[sum_] = worth

    def _push_out(self) -> None:
        """The older half of whoever has most."""
        largest = max(self._memories.values(), key=len)
        self._size -= len(largest)
        if largest.before:
            largest.before = {}
        else:
            for sum_ in list(islice(largest.now, (len(largest.now) + 1) // 2)):
                del largest.now[sum_]
        self._size += len(largest)
