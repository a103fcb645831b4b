"""Where the keys of a TOML text are, and how a fault reads."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config_errors import ConfigError, Fault, KeyPath, dotted, key_lines, line_of, suggest

SAMPLE = '''\
# a comment with [brackets] and = signs
title = "a # in a string"

[server]
host = "127.0.0.1"   # trailing
port = 8080
motd = """
[not.a.table]
fake = 1
quote: \\""" and ""quoted""
"""
raw = \'\'\'
[[neither]]\'\'\'\'
after = true

[models."gpt-4.1"]
price = { input = "1", above = { "200000" = { input = "2" } } }
list = [
  "one",  # [x]
  { a = 1, b = [
    2 ] },
  [3, 4],
]
limits.context.tokens = 4096

[[budgets]]
scope = "org"
[[budgets]]
scope = "key:*"
  [budgets.extra]
  note = 1
[[policies.default.rules]]
name = "first"
[[policies.default.rules]]
name = "second"
match = { task = ["code"] }
[policies.default.rules.more]
x = 1979-05-27T07:32:00Z
'tab\\le'.k = -1.5e3
'''


def expect_lines() -> list[tuple[KeyPath, int]]:
    budgets: KeyPath = ("budgets",)
    rules: KeyPath = ("policies", "default", "rules")
    model: KeyPath = ("models", "gpt-4.1")
    return [
        (("title",), 2),
        (("server",), 4),
        (("server", "port"), 6),
        (("server", "motd"), 7),
        (("server", "raw"), 12),
        (("server", "after"), 14),
        (model, 16),
        ((*model, "price", "input"), 17),
        ((*model, "price", "above", "200000", "input"), 17),
        ((*model, "list", 0), 19),
        ((*model, "list", 1, "a"), 20),
        ((*model, "list", 1, "b", 0), 21),
        ((*model, "list", 2, 1), 22),
        ((*model, "limits", "context", "tokens"), 24),
        ((*budgets, 0, "scope"), 27),
        ((*budgets, 1), 28),
        ((*budgets, 1, "scope"), 29),
        ((*budgets, 1, "extra", "note"), 31),
        ((*rules, 0, "name"), 33),
        ((*rules, 1, "match", "task", 0), 36),
        ((*rules, 1, "more", "x"), 38),
        ((*rules, 1, "more", "tab\\le", "k"), 39),
    ]


@pytest.mark.parametrize(("path", "line"), expect_lines())
def test_every_key_is_found_at_its_line(path: KeyPath, line: int) -> None:
    tomllib.loads(SAMPLE)
    assert key_lines(SAMPLE)[path] == line


def test_text_inside_strings_and_comments_is_no_key() -> None:
    paths = key_lines(SAMPLE)
    assert ("not", "a", "table") not in paths
    assert ("neither",) not in paths
    assert ("server", "fake") not in paths


def test_a_key_the_file_lacks_is_placed_at_the_table_around_it() -> None:
    lines = key_lines(SAMPLE)
    assert line_of(lines, ("server", "prot")) == 4
    assert line_of(lines, ("budgets", 1, "limit_usd")) == 28
    assert line_of(lines, ("nothing", "here")) is None


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_of_both_kinds_count_once(newline: str) -> None:
    text = newline.join(("a = 1", "", "[t]", "b = [", "1,", "2]", "c = 3"))
    lines = key_lines(text)
    assert (lines[("a",)], lines[("t", "b", 1)], lines[("t", "c")]) == (1, 6, 7)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a=1", "[t]", 'a=""', "a=''"])
def test_small_texts_are_read_to_their_end(text: str) -> None:
    assert len(key_lines(text)) == len(tomllib.loads(text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("budgets", 0, "limit_usd"), "budgets[0].limit_usd"),
        (("models", "gpt-4.1", "price"), 'models."gpt-4.1".price'),
        ((), ""),
    ],
)
def test_a_path_is_written_as_in_toml(path: KeyPath, text: str) -> None:
    assert dotted(path) == text


def test_a_mistyped_word_gets_the_closest_known_one() -> None:
    assert suggest("prot", ["port", "host"]) == "port"
    assert suggest("OPENAI", ["openai", "local"]) == "openai"
    assert suggest("zebra", ["port", "host"]) is None


def test_a_fault_reads_as_place_key_message_and_hint() -> None:
    fault = Fault("config.toml", 12, "server.prot", "unknown key", "port")
    assert str(fault) == 'config.toml:12: server.prot: unknown key (did you mean "port"?)'
    assert str(Fault("environment", None, "WEIR_PORT", "no port")) == (
        "environment: WEIR_PORT: no port"
    )


def test_an_error_tells_all_its_faults() -> None:
    faults = [Fault("c.toml", line, "k", f"fault {line}") for line in (1, 2, 3)]
    error = ConfigError(faults)
    assert error.faults == tuple(faults)
    assert str(error).splitlines() == [str(fault) for fault in faults]


NAMES = st.text(alphabet="abc.-_ #'[]=\"\\é", min_size=1, max_size=4)
SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(
        ['"#x"', "'[a]'", "true", "1.5", '"\\""', '"""\n[t]\nx = 1\n"""', "'''\n#\n'''", '""']
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(list),
        st.dictionaries(NAMES, inner, max_size=2),
    ),
    max_leaves=5,
)


class Writer:
    """Writes TOML and notes the line each key lands on."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def put(self, text: str, *paths: KeyPath) -> None:
        for path in paths:
            self.lines.setdefault(path, self.text.count("\n") + 1)
        self.text += text

    def value(self, value: Any, path: KeyPath) -> None:
        if isinstance(value, str):
            self.put(value)
        elif isinstance(value, list):
            self.put("[ # open\n")
            for index, item in enumerate(value):
                self.lines[(*path, index)] = self.text.count("\n") + 1
                self.value(item, (*path, index))
                self.put(" ,\n")
            self.put("]")
        else:
            self.put("{")
            for count, (name, item) in enumerate(value.items()):
                self.put(", " if count else " ")
                self.put(f"{quoted(name)} = ", (*path, name))
                self.value(item, (*path, name))
            self.put(" }")


def quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(st.dictionaries(NAMES, st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=3)))
def test_written_files_are_located_line_by_line(
    tables: dict[str, list[dict[str, Any]]],
) -> None:
    writer = Writer()
    for name, entries in tables.items():
        for index, entry in enumerate(entries):
            writer.put("# [x] = 1\n\n")
            writer.put(f"[[ {quoted(name)} ]]  # y\n", (name,), (name, index))
            for key, value in entry.items():
                writer.put(f"  {quoted(key)} =\t", (name, index, key))
                writer.value(value, (name, index, key))
                writer.put("\n")
    tomllib.loads(writer.text)
    assert key_lines(writer.text) == writer.lines
