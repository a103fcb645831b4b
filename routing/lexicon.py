"""The words by which requests are told apart: which task they ask for, and what makes one hard.

Fixed on purpose: no weight here was trained, so none leans on one benchmark's wording. Keys are the
words as `FLAT_TABLE` leaves them: lower case, UTF-8, without punctuation.
"""

from collections.abc import Mapping
from enum import StrEnum


class Task(StrEnum):
    """What a request asks for; the list is closed."""

    CHAT = "chat"
    QA = "qa"
    EXTRACTION = "extraction"
    CLASSIFICATION = "classification"
    SUMMARIZE = "summarize"
    TRANSLATE = "translate"
    REWRITE = "rewrite"
    CODE = "code"
    MATH = "math"
    REASONING = "reasoning"
    TOOL_USE = "tool_use"
    VISION = "vision"


def _keys(words: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in words.split())


_SURE, _LIKELY, _HINT = 2.0, 1.0, 0.5

_TASK_WORDS: tuple[tuple[Task, float, str], ...] = (
    (
        Task.TRANSLATE,
        _SURE,
        "translate translation translating übersetze Übersetze traduire traduis traduisez traduce "
        "traducir traduci traduza переведи переведите",
    ),
    (
        Task.SUMMARIZE,
        _SURE,
        "summarize summarise summarizing summarising summary tldr zusammenfassung résume résumer "
        "resume resumir riassumi",
    ),
    (Task.SUMMARIZE, _LIKELY, "condense shorten gist abstract headline"),
    (
        Task.REWRITE,
        _SURE,
        "rewrite rephrase reword paraphrase proofread umformulieren reformule reescribe",
    ),
    (Task.REWRITE, _LIKELY, "grammar polish edit grammatical formal tone wording spelling"),
    (
        Task.CLASSIFICATION,
        _SURE,
        "classify categorize categorise sentiment klassifiziere classifie clasifica",
    ),
    (Task.CLASSIFICATION, _LIKELY, "label category categories tag positive negative spam topic"),
    (Task.EXTRACTION, _SURE, "extract extraction extrahiere extrais extrae"),
    (Task.EXTRACTION, _LIKELY, "entities fields keywords identify json parse"),
    (
        Task.CODE,
        _SURE,
        "python javascript typescript java sql rust golang html css bash regex php kotlin swift "
        "stacktrace pytest numpy pandas dockerfile",
    ),
    (
        Task.CODE,
        _LIKELY,
        "code function program script class method debug refactor implement algorithm api compile "
        "unittest bug exception programming array string tuple tuples dictionary database query",
    ),
    (
        Task.MATH,
        _SURE,
        "equation integral derivative polynomial theorem modulo integer integers triangle matrix "
        "eigenvalue logarithm divisible factorial perpendicular",
    ),
    (
        Task.MATH,
        _LIKELY,
        "solve calculate compute evaluate probability sum product percent percentage total average "
        "equal digits ratio fraction area radius cost costs remaining find determine simplify "
        "factor roots angle odds",
    ),
    (Task.MATH, _HINT, "many much each twice half per remainder"),
    (
        Task.REASONING,
        _SURE,
        "prove proof deduce puzzle riddle contradiction premise premises syllogism entail entails",
    ),
    (
        Task.REASONING,
        _LIKELY,
        "reason reasoning logic logical infer conclude argue plan strategy tradeoffs analyze "
        "analyse hypothesis critique design architecture why justify",
    ),
    (Task.QA, _LIKELY, "question answer option options choices"),
    (Task.QA, _HINT, "what which who when where whose whom"),
    (Task.CHAT, _LIKELY, "hello hi hey thanks thank story poem joke email letter recipe ideas"),
)

TASK_WORDS: Mapping[bytes, tuple[Task, float]] = {
    key: (task, weight) for task, weight, words in _TASK_WORDS for key in _keys(words)
}

HARD_WORDS: frozenset[bytes] = frozenset(
    _keys(
        "prove proof derive theorem lemma integral derivative differential polynomial modulo "
        "eigenvalue asymptotic optimal optimize optimise minimize maximize efficient complexity "
        "algorithm recursion recursive dynamic concurrent concurrency distributed consistency "
        "deadlock architecture refactor debug invariant formal rigorous counterexample "
        "probability combinatorics permutations integers remainder triangle perpendicular "
        "equilibrium quantum thermodynamic orbital enzyme pathophysiology diagnosis statute "
        "liability jurisdiction hypothesis implications evaluate critique tradeoffs analyze "
        "analyse deduce puzzle premises strategy multi comprehensive detailed thorough"
    )
)
EASY_WORDS: frozenset[bytes] = frozenset(
    _keys(
        "hello hi hey thanks thank define definition synonym antonym spell capital simple basic "
        "brief briefly short quick yes weather name list"
    )
)
CONSTRAINT_WORDS: frozenset[bytes] = frozenset(
    _keys(
        "must exactly only without least most except unless never always cannot not if suppose "
        "assume given such then otherwise before after between more less than respectively both"
    )
)
QUESTION_STARTS: frozenset[bytes] = frozenset(
    _keys("what which who when where whose how is are was were do does did can could why")
)
CJK_TASKS: tuple[tuple[bytes, Task], ...] = tuple(
    (word.encode(), task)
    for task, words in (
        (Task.TRANSLATE, "翻译 翻訳 번역"),
        (Task.SUMMARIZE, "总结 摘要 要約 요약"),
        (Task.REWRITE, "改写 润色 書き直 다시"),
        (Task.CODE, "代码 编程 函数 コード 코드"),
        (Task.MATH, "计算 求解 方程 計算 계산"),
    )
    for word in words.split()
)
