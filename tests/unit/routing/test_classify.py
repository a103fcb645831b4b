"""Task and difficulty: the expected task on plain prompts, the expected order of difficulty."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.classify import BASE_DIFFICULTY, Classification, classify
from routing.features import extract_with_text
from routing.lexicon import Task


def of(content: object, **fields: Any) -> Classification:
    body = {"messages": [{"role": "user", "content": content}], **fields}
    return classify(*extract_with_text(body))


PROMPTS = [
    ("Hello, how was your day?", Task.CHAT),
    ("Write a short poem about the sea in autumn.", Task.CHAT),
    ("Tell me something nice.", Task.CHAT),
    ("Who wrote The Magic Mountain? Answer in one question-free line.", Task.QA),
    ("Which planet is largest?\nA. Mars\nB. Jupiter\nC. Venus\nD. Earth\nAnswer:", Task.QA),
    ("Extract all names and dates from the letter below.\n\nDear Ms Park, ...", Task.EXTRACTION),
    ("Classify the review as positive or negative: I loved it.", Task.CLASSIFICATION),
    ("Summarize the following report in three sentences.\n\nRevenue rose.", Task.SUMMARIZE),
    ("Please summarise: the meeting began late.", Task.SUMMARIZE),
    ("Translate to German: good morning", Task.TRANSLATE),
    ("Übersetze ins Englische: Guten Morgen", Task.TRANSLATE),
    ("请把这句话翻译成英文", Task.TRANSLATE),
    ("Rewrite this sentence in a formal tone: gimme the file", Task.REWRITE),
    ("Write a Python function that reverses a linked list.", Task.CODE),
    ("Why does this fail?\n```\ndef f(x):\n    return x[\n```", Task.CODE),
    ("Solve the equation 3x + 7 = 22 for x.", Task.MATH),
    ("Anna has 12 apples and gives away 5. How many apples does she have left?", Task.MATH),
    ("Prove that the premises entail the conclusion.", Task.REASONING),
    ("Analyze the tradeoffs of this design and justify a strategy.", Task.REASONING),
]


@pytest.mark.parametrize(("prompt", "task"), PROMPTS)
def test_a_plain_prompt_has_its_task(prompt: str, task: Task) -> None:
    assert of(prompt).task is task


def test_the_instruction_is_found_after_a_long_document() -> None:
    document = "The harbour was busy and the ships were late again that season. " * 200
    assert of(document + "\n\nSummarize the text above.").task is Task.SUMMARIZE


def test_words_inside_a_long_document_do_not_decide() -> None:
    text = "Tell me what happened." + " It rained." * 200 + " translate " + "It rained. " * 200
    assert of(text).task is not Task.TRANSLATE


def test_the_system_text_counts() -> None:
    body = {
        "messages": [
            {
                "role": "system",
                "content": "You classify mails. Answer with one label: spam or ham.",
            },
            {"role": "user", "content": "Dear friend, the parcel arrives on Monday."},
        ]
    }
    assert classify(*extract_with_text(body)).task is Task.CLASSIFICATION


def test_what_a_request_carries_goes_before_its_words() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    text = {"type": "text", "text": "Translate this sign to German"}
    tool = {"type": "function", "function": {"name": "f"}}
    assert of([text, image]).task is Task.VISION
    assert of("Translate this", tools=[tool]).task is Task.TOOL_USE


EASIER_AND_HARDER = [
    ("Hello!", "Prove that there are infinitely many primes of the form 4k + 3."),
    ("What is the capital of France?", "Derive the asymptotic complexity of this algorithm."),
    ("Translate to German: good morning", "Write a Python function that solves sudoku."),
    (
        "Write a Python function that adds two numbers.",
        "Write a concurrent, distributed Python scheduler; optimize it and prove that it has no "
        "deadlock unless a node fails before it must answer.",
    ),
    (
        "Calculate 3 + 4.",
        "Find the integral $\\int \\frac{x^2}{\\sqrt{1 - x^4}} dx$ for 0 < x < 1.",
    ),
    ("Summarize: it rained.", "Analyze the hypothesis and critique each premise of the argument."),
]


@pytest.mark.parametrize(("easier", "harder"), EASIER_AND_HARDER)
def test_harder_prompts_have_more_difficulty(easier: str, harder: str) -> None:
    assert of(easier).difficulty < of(harder).difficulty


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": "high"},
        {"max_completion_tokens": 8_000},
    ],
)
def test_what_is_asked_for_adds_difficulty(fields: dict[str, object]) -> None:
    assert of("Describe the harbour.", **fields).difficulty > of("Describe the harbour.").difficulty


def test_more_tools_turns_and_tool_results_add_difficulty() -> None:
    def agent(tools: int, turns: int, results: int) -> float:
        tool = {"type": "function", "function": {"name": "f"}}
        messages = [{"role": "tool", "content": "ok"}] * results
        messages += [{"role": "user", "content": "Book it."}] * turns
        body = {"messages": messages, "tools": [tool] * tools}
        return classify(*extract_with_text(body)).difficulty

    assert agent(1, 1, 0) < agent(4, 1, 0) < agent(4, 3, 0) < agent(4, 3, 2)


def test_the_reasons_add_up_to_the_difficulty() -> None:
    found = of("Write a Python function that must reverse exactly one linked list without copies.")
    steps = [float(reason.split()[0]) for reason in found.reasons[2:]]
    base = BASE_DIFFICULTY[found.task]
    assert found.reasons[1] == f"base {base:.2f}"
    # Each reason is rounded to two places.
    assert found.difficulty == pytest.approx(base + sum(steps), abs=0.005 * len(steps) + 0.001)


def test_reasons_hold_no_text_of_the_prompt() -> None:
    reasons = " ".join(of("Summarize zanzibar").reasons)
    assert "zanzibar" not in reasons


@given(text=st.text(), system=st.text(max_size=80), tools=st.integers(0, 3))
def test_every_text_has_a_task_and_a_difficulty(text: str, system: str, tools: int) -> None:
    body = {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
        "tools": [{}] * tools,
    }
    found = classify(*extract_with_text(body))
    assert found.task in Task
    assert 0.0 <= found.difficulty <= 1.0
    assert found == classify(*extract_with_text(body))


def test_every_task_has_a_base() -> None:
    assert set(BASE_DIFFICULTY) == set(Task)
