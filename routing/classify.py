"""Task and difficulty of a request, by a fixed heuristic that says what it went by.

The task is the one with the most evidence: words in the zone of instructions and the shape of the
text. The difficulty starts at the task's base and moves by what makes prompts hard for small
models. Both are explained in docs/routing.md, with measurements.
"""

from collections.abc import Mapping
from math import log2

from budgets.value import value
from routing.features import Features, TextView
from routing.lexicon import (
    CJK_TASKS,
    CONSTRAINT_WORDS,
    EASY_WORDS,
    HARD_WORDS,
    QUESTION_STARTS,
    TASK_WORDS,
    Task,
)

BASE_DIFFICULTY: Mapping[Task, float] = {
    Task.CHAT: 0.20,
    Task.QA: 0.25,
    Task.EXTRACTION: 0.25,
    Task.CLASSIFICATION: 0.20,
    Task.SUMMARIZE: 0.20,
    Task.TRANSLATE: 0.20,
    Task.REWRITE: 0.20,
    Task.CODE: 0.45,
    Task.MATH: 0.45,
    Task.REASONING: 0.45,
    Task.TOOL_USE: 0.35,
    Task.VISION: 0.35,
}
_BASE_REASONS = {task: f"base {base:.2f}" for task, base in BASE_DIFFICULTY.items()}
_NO_SCORES = dict.fromkeys(Task, 0.0)
SYSTEM_WEIGHT = 0.7
ENOUGH_EVIDENCE = 0.9


@value
class Classification:
    """A task of the closed list, a difficulty from 0 to 1, and what led to them.

    The difficulty orders requests; it is not a probability. Each reason is a short text such as
    `task code: words` or `+0.12 hard words`.
    """

    task: Task
    difficulty: float
    reasons: tuple[str, ...]


def _word_scores(words: set[bytes], first: bytes, system: bytes) -> dict[Task, float]:
    """Evidence from words: those of the zone, its first one again, and the system text's."""
    scores = _NO_SCORES.copy()
    for word in words & TASK_WORDS.keys():
        task, points = TASK_WORDS[word]
        scores[task] += points
    if first in TASK_WORDS:
        task, points = TASK_WORDS[first]
        scores[task] += points
    elif first in QUESTION_STARTS:
        scores[Task.QA] += 0.5
    if system:
        for word in set(system.split()) & TASK_WORDS.keys():
            task, points = TASK_WORDS[word]
            scores[task] += points * SYSTEM_WEIGHT
    return scores


def _has_options(user: bytes) -> bool:
    """Whether the text offers lettered choices."""
    return b"(B)" in user or (
        b"\nB" in user and (b"\nB." in user or b"\nB)" in user or b"\nB:" in user)
    )


def _add_shape(scores: dict[Task, float], features: Features, text: TextView) -> None:
    """Evidence from the shape of the request and of its last user message."""
    scores[Task.CODE] += 3.0 * features.code
    if features.digits >= 2 and (b"how many" in text.zone or b"how much" in text.zone):
        scores[Task.MATH] += 1.0
    elif features.digits < 2 and not features.math:
        # `Solve` and `total` without a number are seldom mathematics.
        scores[Task.MATH] *= 0.4
    scores[Task.MATH] += 3.0 * features.math
    scores[Task.EXTRACTION] += 1.0 if features.schema else 0.0
    scores[Task.REASONING] += 0.8 if features.reasoning_asked else 0.0
    if b"?" in text.user:
        scores[Task.QA] += 0.3
    if _has_options(text.user):
        scores[Task.QA] += 1.5
    if features.script == "cjk":
        for word, task in CJK_TASKS:
            if word in text.user:
                scores[task] += 2.0


def _task(features: Features, text: TextView, words: set[bytes], first: bytes) -> tuple[Task, str]:
    """The task and why; what the request carries goes before what it says."""
    if features.images:
        return Task.VISION, "task vision: images in the request"
    if features.tools or features.tool_results:
        return Task.TOOL_USE, "task tool_use: tools in the request"
    scores = _word_scores(words, first, text.system_flat)
    _add_shape(scores, features, text)
    task = max(scores, key=scores.__getitem__)
    if task is Task.CHAT or scores[task] < ENOUGH_EVIDENCE:
        return Task.CHAT, "task chat: nothing points elsewhere"
    return task, f"task {task.value}: evidence {scores[task]:.1f}"


def _steps(features: Features, text: TextView, words: set[bytes]) -> tuple[tuple[float, str], ...]:
    """What moves the difficulty, by how much, in a fixed order; zeros are steps not taken."""
    return (
        (min(0.24, 0.08 * len(words & HARD_WORDS)), "hard words"),
        (max(-0.10, -0.05 * len(words & EASY_WORDS)), "easy words"),
        (min(0.12, 0.02 * len(words & CONSTRAINT_WORDS)), "conditions"),
        (min(0.25, 0.05 * log2(len(text.user) / 64 + 1)), "length of the last message"),
        (0.15 * features.math, "mathematical notation"),
        (0.15 * features.code, "code"),
        (min(0.08, 0.01 * features.digits), "numbers"),
        (min(0.10, 0.02 * max(0, features.turns - 1)), "turns"),
        (min(0.15, 0.02 * max(0, features.tools - 1)), "tools"),
        (min(0.06, 0.02 * features.tool_results), "tool results"),
        (0.10 if features.reasoning_asked else 0.0, "reasoning asked for"),
        (0.08 if features.script != "latin" else 0.0, "script"),
        (0.05 if (features.max_output_tokens or 0) >= 4_096 else 0.0, "long answer allowed"),
    )


def classify(features: Features, text: TextView) -> Classification:
    """The task and difficulty of a request, from `extract_with_text`."""
    zone = text.zone.split()
    words = set(zone)
    task, why = _task(features, text, words, zone[0] if zone else b"")
    difficulty = BASE_DIFFICULTY[task]
    reasons = [why, _BASE_REASONS[task]]
    for step, name in _steps(features, text, words):
        if step:
            difficulty += step
            reasons.append(f"{step:+.2f} {name}")
    return Classification(task, round(min(1.0, max(0.0, difficulty)), 3), tuple(reasons))
