"""Which requests are one run where nobody says so, and which only look alike."""

import random
from typing import Any

from gateway.run_inference import ALIKE, DAY_S, RunInference
from tests.unit.gateway.clocks import Clock

KEY = "key1"


def says(*texts: str) -> list[dict[str, Any]]:
    """A conversation in which user and assistant take turns."""
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]


def inference(kept: int = 1_000, idle_s: int = 600, **more: Any) -> RunInference:
    return RunInference(kept, idle_s, clock_s=more.pop("clock", Clock()), **more)


def test_a_request_that_goes_on_from_another_is_in_its_run() -> None:
    known = inference()
    assert known.follow(KEY, says("a"), "r1") is None
    assert known.follow(KEY, says("a", "b", "c"), "r2") == "r1"
    assert known.follow(KEY, says("a", "b", "c", "d", "e"), "r3") == "r1"


def test_one_that_skips_some_or_branches_off_is_in_the_run_too() -> None:
    known = inference()
    known.follow(KEY, says("a"), "r1")
    assert known.follow(KEY, says("a", "b", "c", "d", "e"), "r2") == "r1"
    assert known.follow(KEY, says("a", "b", "other"), "r3") == "r1"
    assert known.follow(KEY, says("a", "another answer", "c"), "r4") == "r1"


def test_equal_prompts_stay_apart_until_somebody_goes_on_from_each() -> None:
    known = inference()
    for run in ("r1", "r2", "r3"):
        assert known.follow(KEY, says("Hello"), run) is None
    runs = [known.follow(KEY, says("Hello", answer, "more"), "x") for answer in "abc"]
    assert runs == ["r3", "r2", "r1"]
    again = [known.follow(KEY, says("Hello", a, "more", "ok", "go"), "x") for a in "abc"]
    assert again == runs


def test_more_that_are_alike_than_can_wait_still_stay_apart() -> None:
    known = inference()
    for place in range(ALIKE + 3):
        known.follow(KEY, says("Hello"), f"r{place}")
    runs = [known.follow(KEY, says("Hello", f"a{n}", "more"), f"x{n}") for n in range(ALIKE + 3)]
    assert len(set(runs)) == ALIKE + 3


def test_examples_in_front_of_each_question_join_nothing() -> None:
    for known in (inference(), inference(shared=True)):
        shots = [says("x", "X", "y", "Y", f"question {n}") for n in range(50)]
        runs = [known.follow(KEY, shot, f"r{n}") for n, shot in enumerate(shots)]
        # Where nobody can ask the others, the first of a kind cannot be told from a history.
        assert [run for run in runs if run is not None][1:] == []
        assert len({run or f"r{n}" for n, run in enumerate(runs)}) == 50


def test_a_retry_is_in_the_run_that_it_tries_again() -> None:
    known = inference()
    known.follow(KEY, says("a"), "r1")
    assert known.follow(KEY, says("a"), "r2", retried=True) == "r1"
    assert known.follow(KEY, says("a", "b", "c"), "r3") == "r1"
    assert known.follow(KEY, says("a", "b", "c"), "r4") == "r1"
    assert known.follow(KEY, says("a"), "r5", retried=True) == "r1"


def test_no_key_sees_the_conversations_of_another() -> None:
    known = inference()
    known.follow(KEY, says("a"), "r1")
    assert known.follow("key2", says("a", "b", "c"), "r2") is None


def test_a_conversation_that_idles_is_forgotten_and_one_in_use_is_not() -> None:
    clock = Clock()
    known = inference(idle_s=600, clock=clock)
    known.follow(KEY, says("a"), "r1")
    known.follow(KEY, says("idle"), "r2")
    texts = ["a"]
    for _ in range(5):
        clock.now_s += 250
        texts += ["b", "c"]
        assert known.follow(KEY, says(*texts), "r3") == "r1"
    assert known.follow(KEY, says("idle", "b", "c"), "r4") is None
    clock.now_s += 10_000
    known.follow("key2", says("x"), "r5")
    assert len(known) == 1


def test_memory_is_bounded_and_who_floods_it_pushes_out_its_own() -> None:
    known = inference(kept=300)
    known.follow(KEY, says("a"), "r1")
    for number in range(5_000):
        known.follow("flood", says(f"{number}", "b", "c"), f"f{number}")
        assert len(known) <= 300
    assert known.follow(KEY, says("a", "b", "c"), "r2") == "r1"


def test_processes_that_share_nothing_give_a_conversation_one_name() -> None:
    chance = random.Random(3)
    processes = [inference(shared=True) for _ in range(4)]
    for number in range(50):
        texts = [f"task {number}"]
        chance.choice(processes).follow(KEY, says(*texts), "own")
        runs = set()
        for step in range(6):
            texts += [f"answer {step}", f"more {step}"]
            runs.add(chance.choice(processes).follow(KEY, says(*texts), f"own {number} {step}"))
        assert len(runs) == 1
        assert str(runs.pop()).startswith("conv-")


def test_the_same_beginning_on_another_day_or_under_another_key_has_another_name() -> None:
    clock = Clock()
    names = []
    for key in (KEY, "key2"):
        for _ in range(2):
            names.append(inference(shared=True, clock=clock).follow(key, says("a", "b", "c"), "r"))
            clock.now_s += DAY_S
    assert len(set(names)) == 4


def test_a_response_is_known_to_its_team_by_its_id() -> None:
    known = inference()
    known.answered("lab", "resp_1", "r1")
    known.answered("lab", "", "r2")
    assert known.run_of_response("lab", "resp_1") == "r1"
    assert known.run_of_response("other", "resp_1") is None
    assert known.run_of_response("lab", "") is None
