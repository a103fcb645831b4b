"""The estimate of tokens stays near the cl100k encoding on text of many kinds."""

import importlib.util
from pathlib import Path

import pytest
import tiktoken

from routing.tokens import text_tokens, utf8_size

ROOT = Path(__file__).parents[3]
PROSE = (
    "The committee met on Tuesday to discuss the new schedule. Several members were worried that "
    "the library would close too early in winter, and asked whether volunteers could help out."
)
JSON = (
    '{"name": "look_up", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}'
)
TEX = "Let $f(x) = \\frac{x^2 + 1}{x - 3}$. Find all $x$ such that $f(x) \\ge 0$ and $x \\ne 3$."
GERMAN = "Der Ausschuss traf sich am Dienstag, um über den neuen Zeitplan der Bücherei zu sprechen."
RUSSIAN = "Комитет собрался во вторник, чтобы обсудить новое расписание работы библиотеки."
JAPANESE = "委員会は火曜日に集まり、図書館の新しい予定について話し合いました。"


@pytest.fixture(scope="module")
def cl100k(tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    package = importlib.util.find_spec("litellm")
    assert package is not None
    assert package.origin is not None
    bundled = Path(package.origin).parent / "litellm_core_utils" / "tokenizers"
    patch = pytest.MonkeyPatch()
    patch.setenv("TIKTOKEN_CACHE_DIR", str(bundled))
    encoding = tiktoken.get_encoding("cl100k_base")
    patch.undo()
    return encoding


@pytest.mark.parametrize(
    ("text", "tolerance"),
    [
        (PROSE, 0.15),
        (JSON, 0.15),
        (TEX, 0.20),
        (GERMAN, 0.30),
        (RUSSIAN, 0.25),
        (JAPANESE, 0.25),
        ((ROOT / "budgets" / "money.py").read_text(encoding="utf-8"), 0.15),
        ((ROOT / "pyproject.toml").read_text(encoding="utf-8"), 0.20),
    ],
    ids=["prose", "json", "tex", "german", "russian", "japanese", "python", "toml"],
)
def test_the_estimate_is_near_the_count(
    text: str, tolerance: float, cl100k: tiktoken.Encoding
) -> None:
    counted = len(cl100k.encode(text, disallowed_special=()))
    assert text_tokens(text) == pytest.approx(counted, rel=tolerance)


def test_nothing_is_no_tokens() -> None:
    assert text_tokens("") == 0


def test_lone_surrogates_have_a_size() -> None:
    assert utf8_size("\ud800") == 3
    assert text_tokens("\ud800 x") > 0
