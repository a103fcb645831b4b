"""config.toml and the environment become settings, or a list of everything that is wrong."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.prices import cost
from budgets.usage import TokenUsage
from gateway.config import config_path, load_settings
from gateway.config_errors import ConfigError
from routing.catalog import ModelWish

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "config.toml"

SMALL = """\
[providers.here]
kind = "scripted"

[models.tiny]
provider = "here"
price = { input = "1", output = "2" }
context_tokens = 4096
max_output_tokens = 1024
aliases = ["gpt-4o-mini"]

[tiers.small]
models = ["tiny"]

[policies.default]
tier = "small"
"""
REMOTE = """
[providers.openai]
kind = "openai_http"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
optional = true

[models.big]
provider = "openai"
upstream_model = "gpt-5"
context_tokens = 400000
max_output_tokens = 128000
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(folder: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, env or {})
    return [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]


def test_the_shipped_file_works_without_any_key() -> None:
    settings = load_settings(SHIPPED, {})
    assert settings.off == {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
    assert [tier.models for tier in settings.catalog.tiers] == [
        ("smollm2",),
        ("frontier-stand-in",),
    ]
    assert settings.catalog.resolve("gpt-5") == ModelWish("frontier-stand-in")
    assert settings.catalog.resolve("gpt-4o-mini") == ModelWish("smollm2")
    assert settings.catalog.models["frontier-stand-in"].stand_in
    assert set(settings.policies) == {"default", "cheap", "frontier"}
    assert [budget.name for budget in settings.budgets.budgets] == [
        "key:demo/month",
        "workflow:*/day",
        "run:*/total",
    ]


@pytest.mark.parametrize(
    ("variable", "first", "name", "model"),
    [
        ("OPENAI_API_KEY", "gpt-5", "gpt-4o", "gpt-5"),
        ("ANTHROPIC_API_KEY", "claude-sonnet-4-5", "claude-opus-4-5", "claude-sonnet-4-5"),
    ],
)
def test_a_key_puts_the_real_model_before_its_stand_in(
    variable: str, first: str, name: str, model: str
) -> None:
    settings = load_settings(SHIPPED, {variable: "sk-real"})
    frontier = settings.catalog.tiers_by_name["frontier"]
    assert frontier.models == (first, "frontier-stand-in")
    assert settings.catalog.resolve(name) == ModelWish(model)
    assert settings.catalog.resolve(first) == ModelWish(first)
    assert "sk-real" not in repr(settings)


@pytest.mark.parametrize("env", [{}, {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "y"}])
def test_every_shipped_model_has_a_price_under_its_card(env: dict[str, str]) -> None:
    settings = load_settings(SHIPPED, env)
    for card in settings.catalog.models.values():
        price = settings.prices.at(card.price_model, 1_800_000_000)
        assert price is not None
        assert cost(price, TokenUsage(fresh=1, output=1)).total_nano > 0


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL + '[server]\nhost = "::1"\nport = 1\ndata_dir = "here"\n')
    plain = load_settings(path, {"WEIR_PORT": "", "WEIR_HOST": "", "WEIR_DATA_DIR": ""})
    assert (plain.server.host, plain.server.port) == ("::1", 1)
    assert plain.data_dir == tmp_path / "here"
    env = {"WEIR_PORT": "0", "WEIR_HOST": "0.0.0.0", "WEIR_DATA_DIR": "elsewhere"}
    changed = load_settings(path, env)
    assert (changed.server.host, changed.server.port) == ("0.0.0.0", 0)
    assert changed.data_dir == Path("elsewhere")


@pytest.mark.parametrize("port", ["http", "65536", "-1", "80.5", "٣"])
def test_a_port_of_the_environment_that_is_none_is_blamed_on_it(tmp_path: Path, port: str) -> None:
    (fault,) = faults_of(tmp_path, SMALL, {"WEIR_PORT": port})
    assert fault.startswith("environment: WEIR_PORT (or --port): expected a port from 0 to 65535")


def test_the_file_is_named_by_the_environment() -> None:
    assert config_path({"WEIR_CONFIG": "/etc/weir.toml"}) == Path("/etc/weir.toml")
    assert config_path({"WEIR_CONFIG": ""}) == Path("config.toml")
    assert config_path({}) == Path("config.toml")


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read.*--config or WEIR_CONFIG"):
        load_settings(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport = = 1\n", 2),
        ("[server]\nport = 1\nport = 2\n", 3),
        ('[server]\nhost = "open\n', 2),
        ("[server]\nhosts = [1,\n", 2),
    ],
)
def test_a_syntax_error_is_placed(tmp_path: Path, text: str, line: int) -> None:
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith(f"{line}: not valid TOML: ")


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'[server]\nhost = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"config\.toml:2: the file must be UTF-8"):
        load_settings(path, {})


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = SMALL.replace('kind = "scripted"', 'kind = "scriptd"')
    text = text.replace("context_tokens", "context_token").replace('["tiny"]', '["tinny"]')
    text += '[severs]\nx = 1\n[[budgets]]\nscope = "key:*"\nwindow = "moth"\nlimit_usd = "-1"\n'
    faults = faults_of(tmp_path, text)
    assert faults == sorted(faults, key=lambda fault: int(fault.partition(":")[0]))
    assert [fault.partition(": ")[2].partition(": ")[0] for fault in faults] == [
        "providers.here.kind",
        "models.tiny.context_tokens",
        "models.tiny.context_token",
        "tiers.small.models[0]",
        "severs",
        "budgets[0].window",
        "budgets[0].limit_usd",
    ]
    hints = [fault.partition('did you mean "')[2].rstrip('"?)') for fault in faults]
    assert hints == ["scripted", "", "context_tokens", "tiny", "server", "month", ""]


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ('provider = "here"', 'provider = "there"', 5, "models.tiny.provider", "no provider"),
        ('tier = "small"', 'tier = "smal"', 15, "policies.default.tier", 'mean "small"?'),
        ("[policies.default]", "[policies.defalt]", 14, "policies", "is [policies.defalt] meant"),
        ('"gpt-4o-mini"', '"auto"', 9, "models.tiny.aliases[0]", "reserved"),
        ('"gpt-4o-mini"', '"tiny"', 9, "models.tiny.aliases[0]", "already means"),
        ('"gpt-4o-mini"', '"a", "a"', 9, "models.tiny.aliases[1]", "already means"),
        ('input = "1"', 'input = "one"', 6, "models.tiny.price.input", "expected dollars"),
        ('input = "1"', 'inptu = "1"', 6, "models.tiny.price.inptu", "input"),
        ("max_output_tokens = 1024", "max_output_tokens = 9999", 4, "models.tiny", "exceed"),
        ("4096", '"many"', 7, "models.tiny.context_tokens", "valid integer"),
    ],
)
def test_a_fault_is_placed_and_explained(
    tmp_path: Path, old: str, new: str, line: int, key: str, message: str
) -> None:
    faults = faults_of(tmp_path, SMALL.replace(old, new))
    (fault,) = [fault for fault in faults if f" {key}: " in fault]
    assert fault.startswith(f"{line}: {key}: ")
    assert message in fault


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        ("[server]\nport = 65536", "server.port", "less than or equal to 65535, got 65536"),
        ("[server]\norg = 'a/b'", "server.org", "match pattern"),
        ("[server]\nlease_s = 600", "server.lease_s", "longer than request_timeout_s (600)"),
        ("[telemetry]\nbatch_rows = 0", "telemetry.batch_rows", "greater than or equal to 1"),
        ('[ledger]\nstore = "redis"', "ledger.redis_url_env", "WEIR_REDIS_URL is not set"),
        ("[ledger]\ntimeout_ms = 5", "ledger.timeout_ms", "greater than or equal to 10"),
        ("budgets = 3", "budgets", "expected tables such as [[budgets]]"),
        ('[[budgets]]\nscope = "org"\nwindow = "day"', "budgets[0]", "give exactly one of"),
        (
            '[[budgets]]\nscope = "org"\nwindow = "day"\nlimit_usd = "9000001"',
            "budgets[0].limit_usd",
            "at most 9000000 dollars",
        ),
        (
            '[[budgets]]\nscope = "org"\nwindow = "day"\nlimit_usd = 1\n' * 2,
            "budgets[1]",
            "already has a budget for the window 'day'",
        ),
        ('[tiers.other]\nmodels = ["tiny"]\nrank = 1', "tiers.other", "both have rank 1"),
        (
            '[[policies.default.rules]]\nname = "all"\ntier = "small"\n'
            '[[policies.default.rules]]\nname = "more"\ntier = "smal"\n',
            "policies.default.rules[1].tier",
            'did you mean "small"?',
        ),
    ],
)
def test_a_section_that_cannot_work_is_refused(
    tmp_path: Path, section: str, key: str, message: str
) -> None:
    first = section if "=" in section.partition("\n")[0] else ""
    faults = faults_of(tmp_path, f"{first}\n{SMALL}\n{'' if first else section}\n")
    assert any(f": {key}: " in fault and message in fault for fault in faults), faults


def test_an_empty_file_names_everything_that_is_needed(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, "")
    for section in ("providers", "models", "tiers", "policies"):
        assert any(f"[{section}." in fault for fault in faults)


def test_a_section_with_a_fault_is_blamed_once(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, SMALL.replace("context_tokens = 4096\n", ""))
    assert len(faults) == 1
    assert "models.tiny.context_tokens: is missing" in faults[0]


def test_a_needed_key_that_is_not_set_is_a_fault(tmp_path: Path) -> None:
    text = SMALL + REMOTE.replace("optional = true\n", "")
    (fault,) = faults_of(tmp_path, text)
    assert "providers.openai.api_key_env" in fault
    assert "OPENAI_API_KEY is not set" in fault
    assert load_settings(write(tmp_path, text), {"OPENAI_API_KEY": "x"}).off == {}


def test_a_tier_that_loses_all_its_models_is_a_fault(tmp_path: Path) -> None:
    text = SMALL.replace('["tiny"]', '["big"]') + REMOTE
    (fault,) = faults_of(tmp_path, text)
    assert "tiers.small.models: none of its models is connected; set OPENAI_API_KEY" in fault


def test_a_model_left_out_is_checked_all_the_same(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, SMALL + REMOTE.replace('"gpt-5"', '"gpt-5-mimi"'))
    assert "models.big: has no price" in fault
    assert 'did you mean "gpt-5-mini"?' in fault


def test_two_connected_models_may_not_share_an_alias(tmp_path: Path) -> None:
    text = SMALL + REMOTE + 'aliases = ["gpt-4o-mini"]\n'
    (fault,) = faults_of(tmp_path, text, {"OPENAI_API_KEY": "x"})
    assert "models.big.aliases[0]: 'gpt-4o-mini' already means model 'tiny'" in fault


PAIRS = [
    (number, line)
    for number, line in enumerate(SHIPPED.read_text(encoding="utf-8").splitlines())
    if re.match(r"\w+ = ", line)
]


@given(
    st.sampled_from(PAIRS),
    st.sampled_from(["3", "-1", '""', '"x"', "true", "1.5", "[]", "[1]", "{}", "{ x = 1 }", ""]),
)
def test_any_wrong_value_is_a_fault_at_its_line_or_near(pair: tuple[int, str], value: str) -> None:
    number, line = pair
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    lines[number] = f"{line.partition(' = ')[0]} = {value}" if value else ""
    with TemporaryDirectory() as folder:
        path = write(Path(folder), "\n".join(lines))
        try:
            load_settings(path, {})
        except ConfigError as error:
            for fault in error.faults:
                assert fault.line is None or 1 <= fault.line <= len(lines)
                assert fault.message


@pytest.mark.parametrize("url", ["", "hooks.example.com", "ftp://a/b", "http://", "http://[::1"])
def test_a_webhook_that_is_no_web_address_is_a_fault_that_does_not_show_it(
    tmp_path: Path, url: str
) -> None:
    text = SMALL + '[alerts]\nwebhook_url_env = "HOOK"\n'
    [fault] = faults_of(tmp_path, text, {"HOOK": url})
    assert fault.partition(": ")[2] == (
        "alerts.webhook_url_env: the environment variable HOOK must hold an http or https URL"
    )
    settings = load_settings(write(tmp_path, text), {"HOOK": "https://a.example/hook?token=1"})
    assert settings.alerts.webhook_url_env == "HOOK"
