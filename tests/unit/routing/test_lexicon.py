"""The word lists can be matched as they are written."""

from routing.lexicon import (
    CJK_TASKS,
    CONSTRAINT_WORDS,
    EASY_WORDS,
    HARD_WORDS,
    QUESTION_STARTS,
    TASK_WORDS,
    Task,
)
from routing.tokens import FLAT_TABLE


def test_every_word_survives_flattening_as_one_word() -> None:
    words = {*TASK_WORDS, *HARD_WORDS, *EASY_WORDS, *CONSTRAINT_WORDS, *QUESTION_STARTS}
    assert [word for word in words if word.translate(FLAT_TABLE).split() != [word]] == []


def test_no_word_is_both_hard_and_easy() -> None:
    assert not HARD_WORDS & EASY_WORDS


def test_every_task_told_by_words_has_words() -> None:
    told = {task for task, _ in TASK_WORDS.values()}
    assert told == set(Task) - {Task.TOOL_USE, Task.VISION}
    assert {task for _, task in CJK_TASKS} <= told
