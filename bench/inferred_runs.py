"""How often are inferred runs the true ones? Replays recorded conversations, mixed.

    python bench/inferred_runs.py TRAJECTORIES.jsonl

Each line of the file is one run: an object with `messages` in the shape of chat completions. Before
each turn of the assistant the agent has sent all messages so far, so each run becomes a series of
requests. The series of all runs are mixed by chance under one key, and every request is asked for
its run. Nothing of the file is kept.

    precision   of all pairs of requests in one inferred run, those that are in one true run
    recall      of all pairs of requests in one true run, those that are in one inferred run
    exact       true runs of which one inferred run has every request and no other
    but first   the same, the first request of each run left out
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gateway.run_inference import RunInference
from gateway.turns import turns_of

SEED = 7
FEW_SHOT = [
    {"role": "user", "content": "Classify: the parcel never came"},
    {"role": "assistant", "content": "delivery"},
    {"role": "user", "content": "Classify: I was billed twice"},
    {"role": "assistant", "content": "billing"},
]


def requests_of(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What an agent sends before each of the assistant's turns."""
    for at, message in enumerate(messages):
        begins = at > 0 and messages[at - 1]["role"] != "assistant"
        if message["role"] == "assistant" and begins and has_said(messages[:at]):
            yield list(messages[:at])


def has_said(messages: Sequence[dict[str, Any]]) -> bool:
    """Whether anybody but the system says something."""
    return any(message["role"] not in ("system", "assistant") for message in messages)


def mixed(runs: Sequence[Sequence[Any]], seed: int) -> Iterator[tuple[int, Any]]:
    """The requests of all runs by chance, each run's in order."""
    order = [number for number, run in enumerate(runs) for _ in run]
    random.Random(seed).shuffle(order)
    following = [iter(run) for run in runs]
    for number in order:
        yield number, next(following[number])


def infer(runs: Sequence[Sequence[Any]], workers: int, seed: int = SEED) -> list[tuple[int, str]]:
    """The true and the inferred run of each request, of which chance sends each to a worker."""
    processes = [RunInference(1_000_000, 3_600, shared=workers > 1) for _ in range(workers)]
    chance = random.Random(seed + 1)
    found = []
    latest: dict[int, Any] = {}
    for place, (number, said) in enumerate(mixed(runs, seed)):
        own_run = f"run-{place}"
        retried = latest.get(number) is said
        latest[number] = said
        run = chance.choice(processes).follow("key", said, own_run, retried=retried)
        found.append((number, run or own_run))
    return found


def pairs(counts: Counter[Any]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def exact_runs(found: Sequence[tuple[int, str]]) -> int:
    """How many true runs are one inferred run and nothing else."""
    true_runs, inferred = Counter(number for number, _ in found), Counter(run for _, run in found)
    return sum(
        count == true_runs[number] == inferred[run]
        for (number, run), count in Counter(found).items()
    )


def share(part: int, whole: int) -> str:
    """Four digits, and a dash where there is nothing to share."""
    return f"{part / whole:.4f}" if whole else "-"


def report(name: str, runs: Sequence[Sequence[Any]], workers: int = 1) -> None:
    """One line: precision, recall and exact runs."""
    found = infer(runs, workers)
    true_runs = Counter(number for number, _ in found)
    inferred = Counter(run for _, run in found)
    both = Counter(found)
    together = pairs(both)
    exact = exact_runs(found)
    begun: set[int] = set()
    rest = []
    for number, run in found:
        if number in begun:
            rest.append((number, run))
        begun.add(number)
    longer = len({number for number, _ in rest})
    print(
        f"{name:<48} {len(true_runs):>5} {len(found):>6}"
        f" {share(together, pairs(inferred)):>9} {share(together, pairs(true_runs)):>8}"
        f" {share(exact, len(true_runs)):>7} {share(exact_runs(rest), longer):>9}"
    )


def cost_us(messages: int, text_bytes: int) -> tuple[float, float]:
    """The least microseconds to read, and to recognise, a conversation of such a size."""
    each = text_bytes // messages
    said = []
    for number in range(messages):
        role = "assistant" if number % 2 else "user"
        said.append({"role": role, "content": f"{number} " + "word " * (each // 5)})
    said.append({"role": "user", "content": "and now?"})
    raw = json.dumps(said)
    inference = RunInference(1_000, 3_600)
    inference.follow("key", json.loads(raw)[:-2], "run-0")
    read: list[float] = []
    followed: list[float] = []
    for _ in range(300):
        for times, work in ((read, turns_of), (followed, partial(follow, inference))):
            fresh = json.loads(raw)  # texts whose hash nobody has taken yet
            began = time.perf_counter()
            work(fresh)
            times.append((time.perf_counter() - began) * 1e6)
    return min(read), min(followed)


def follow(inference: RunInference, said: Sequence[Any]) -> str | None:
    return inference.follow("key", said, "run-1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trajectories", type=Path)
    path = parser.parse_args().trajectories
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    runs = [run for row in rows if (run := list(requests_of(row["messages"])))]
    heads = ("runs", "calls", "precision", "recall", "exact", "but first")
    widths = (5, 6, 9, 8, 7, 9)
    print(" " * 48, *[f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)])
    report("one process", runs)
    again = [[one for one in run for _ in range(2)] for run in runs]
    report("one process, each request tried twice", again)
    copies = [run for run in runs for _ in range(4)]
    report("one process, four copies of each, word for word", copies)
    report("two workers", runs, workers=2)
    report("four workers", runs, workers=4)
    chats = [[[*FEW_SHOT, *one] for one in run] for run in runs]
    report("one process, examples before each conversation", chats)
    report("two workers, examples before each conversation", chats, workers=2)
    shots = [[[*FEW_SHOT, {"role": "user", "content": f"Classify: {n}"}]] for n in range(500)]
    report("a batch with examples in each prompt", shots)
    report("the same, two workers", shots, workers=2)
    report("a batch of 500 equal prompts", [[[{"role": "user", "content": "Hello"}]]] * 500)
    for messages, text_bytes in ((2, 400), (20, 40_000), (100, 200_000)):
        read, followed = cost_us(messages, text_bytes)
        print(
            f"{messages} messages, {text_bytes} bytes: {read:.1f} us read, {followed:.1f} us in all"
        )


if __name__ == "__main__":
    main()
