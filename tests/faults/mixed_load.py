"""A mixed load on a gateway that may die and come back, as its callers and its provider live it.

    with upstream() as up, gateway(tmp_path, config(up)) as weir:
        with MixedLoad(weir, up, make_keys(weir), callers=64, seed=1) as load:
            ...                         # it asks without end, also while the gateway is away
        load.calls                      # what each caller saw

Whole answers, streams, long streams whose holds grow, callers that hang up before and within a
stream, and errors of the provider. Many calls share runs whose budget bears few of them at once, so
they wait for each other. The id of a call tells the upstream how to answer it, and comes back with
the answer, so that bill and books can be laid side by side (`three_books.py`).
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import aiohttp

from tests.journeys.gateway_process import GatewayProcess, budget, upstream_config
from tests.journeys.prompts import COUNTED_TOKENS, MESSAGES
from tests.journeys.upstream import Play, Seen, Upstream

# Pays for about twelve answers, and has room for nine of them at a time.
RUN_LIMIT_USD = "0.0005"
CALLS_A_RUN = 16
STEP_TOKENS = 64
AWAY_S = 0.1
PATIENCE_S = 20.0
# So many of a hundred calls are of each kind.
KINDS = {"whole": 30, "stream": 34, "long": 8, "hang": 12, "early": 6, "fail": 5, "refuse": 5}


def config(up: Upstream, server: str = "", more: str = "") -> str:
    """Budgets for every scope; those of runs are tight."""
    wide = [budget(scope, "100") for scope in ("org", "team:*", "key:*", "workflow:*")]
    budgets = "".join([*wide, budget("run:*", RUN_LIMIT_USD), more])
    return upstream_config(up.base_url, budgets, f"hold_step_tokens = {STEP_TOKENS}\n{server}")


def play_of(seen: Seen) -> Play:
    """How the upstream answers a call, as its id says: `KIND-TOKENS-...`."""
    client_id = seen.headers.get("x-client-request-id", "")
    kind, tokens = client_id.split("-")[:2]
    plays: dict[str, dict[str, Any]] = {
        "whole": {"first_delay_s": 0.01},
        "stream": {"first_delay_s": 0.005, "delay_s": 0.002},
        "long": {"delay_s": 0.004},
        "hang": {"delay_s": 0.001, "stall_after": int(tokens) - 4},
        "early": {"first_delay_s": 60.0},
        "fail": {"status": 500},
        "refuse": {"status": 400},
    }
    named = {"X-Request-Id": client_id}
    return Play(int(tokens), prompt_tokens=COUNTED_TOKENS, headers=named, **plays[kind])


@dataclass(frozen=True, slots=True)
class Caller:
    """A key with what it is charged to."""

    key: str
    key_id: str
    team: str


@dataclass(slots=True)
class Call:
    """One request as its caller knows it; `whole` once the last byte of an answer was there.

    `first_hold_usd` is what a stream's head says is held for it at first.
    """

    client_id: str
    caller: Caller
    workflow: str
    run: str
    request_id: str = ""
    status: int = 0
    first_hold_usd: str = ""
    whole: bool = False

    @property
    def kind(self) -> str:
        return self.client_id.partition("-")[0]

    @property
    def parties(self) -> dict[str, str]:
        """Whom it is charged to, as the ledger names them."""
        team = self.caller.team
        return {
            "team": team,
            "key": self.caller.key_id,
            "workflow": f"{team}/{self.workflow}",
            "run": f"{team}/{self.run}",
        }


@dataclass(slots=True)
class MixedLoad:
    """Callers in a thread of their own; enter it to begin, leave it to end and have `calls`."""

    weir: GatewayProcess
    up: Upstream
    keys: Sequence[Caller]
    callers: int
    seed: int
    calls: list[Call] = field(default_factory=list)
    arrived: set[str] = field(default_factory=set)
    _ending: bool = False
    _thread: threading.Thread | None = None
    _numbers: "count[int]" = field(default_factory=count)

    def __enter__(self) -> "MixedLoad":
        self.up.choose = self._choose
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ask no more, and wait for what is under way."""
        self._ending = True
        if self._thread is not None:
            self._thread.join(60)
            assert not self._thread.is_alive()

    def stop_asking(self) -> None:
        """Ask no more; what is under way goes on."""
        self._ending = True

    @property
    def answered(self) -> int:
        """How many calls got a whole answer so far."""
        return sum(call.whole for call in list(self.calls))

    def _choose(self, seen: Seen) -> Play:
        play = play_of(seen)
        self.arrived.add(seen.headers["x-client-request-id"])
        return play

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            tasks = [self._keep_asking(session, number) for number in range(self.callers)]
            await asyncio.gather(*tasks)

    async def _keep_asking(self, session: aiohttp.ClientSession, number: int) -> None:
        dice = Random(f"{self.seed} {number}")
        while not self._ending:
            call = self._next_call(dice)
            self.calls.append(call)
            try:
                await self._ask(session, call)
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(dice.uniform(AWAY_S, 3 * AWAY_S))

    def _next_call(self, dice: Random) -> Call:
        [kind] = dice.choices(list(KINDS), list(KINDS.values()))
        tokens = dice.randrange(100, 160) if kind == "long" else dice.randrange(4, 16)
        client_id = f"{kind}-{tokens}-{uuid.uuid4().hex}"
        shared = kind in ("whole", "stream", "fail", "refuse")
        place = next(self._numbers) // CALLS_A_RUN
        caller = self.keys[place % len(self.keys)]
        # What nobody has asked before has no learned size, so its holds begin small and grow.
        workflow = f"long-{place}" if kind == "long" else f"load-{place % 3}"
        run = f"run-{self.seed}-{place}" if shared else client_id
        return Call(client_id, caller, workflow, run)

    async def _ask(self, session: aiohttp.ClientSession, call: Call) -> None:
        kind, tokens, _ = call.client_id.split("-")
        body: dict[str, Any] = {"model": "auto", "messages": MESSAGES}
        body["stream"] = kind not in ("whole", "fail")
        body["max_tokens"] = int(tokens)
        headers = {
            "Authorization": f"Bearer {call.caller.key}",
            "Content-Type": "application/json",
            "x-client-request-id": call.client_id,
            "x-weir-workflow": call.workflow,
            "x-weir-run": call.run,
        }
        url = f"{self.weir.base_url}/v1/chat/completions"
        post = session.post(url, data=json.dumps(body), headers=headers)
        if kind == "early":
            await self._hang_up_early(post, call)
            return
        async with post as response:
            call.request_id = response.headers.get("x-weir-request-id", "")
            call.status = response.status
            call.first_hold_usd = response.headers.get("x-weir-reserved-usd", "")
            if kind == "hang" and response.status == 200:
                await _read_until(response, int(tokens) - 4)
                response.close()
                return
            text = await response.read()
            if response.status == 200:
                call.whole = not body["stream"] or text.endswith(b"data: [DONE]\n\n")

    async def _hang_up_early(self, post: Awaitable[aiohttp.ClientResponse], call: Call) -> None:
        """Leave once the upstream has the request, before it has begun to answer."""
        asked = asyncio.ensure_future(post)
        try:
            while not asked.done() and call.client_id not in self.arrived:
                await asyncio.sleep(0.005)
        finally:
            asked.cancel()
            [answer] = await asyncio.gather(asked, return_exceptions=True)
        if isinstance(answer, aiohttp.ClientResponse):
            call.status = answer.status
            answer.close()
        elif not isinstance(answer, asyncio.CancelledError):
            raise answer


async def _read_until(response: aiohttp.ClientResponse, tokens: int) -> None:
    """Read a stream until so many tokens, and its first event, were in it."""
    seen = b""
    while b"\n\n" not in seen or seen.count(b"water") < tokens:
        seen += await response.content.readany()
        if response.content.at_eof():
            return


def make_keys(weir: GatewayProcess) -> list[Caller]:
    """Three keys of two teams."""
    return [Caller(*weir.make_key(team), team) for team in ("lab", "lab", "ops")]
