"""config.toml and the environment become `Settings`, or a list of everything that is wrong.

Three steps: load (TOML, with the line of every key), validate (each floor owns the shape of its
section, and the sections must agree), wire (catalog, policies, budgets and prices ready for use).
Secrets are never in the file; it names the environment variables that hold them.

A provider with `optional = true` whose key is not set is left out together with its models, so one
file serves machines with and without accounts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from budgets.budget_book import BudgetBook
from budgets.config import TEAM_NAME, BudgetSection, LedgerSection, ModelPricing, Section
from budgets.price_card import CardError
from budgets.prices import PriceCard
from gateway.config_batches import BatchesSection
from gateway.config_checks import Named, check_references, is_web_address, standing_aliases
from gateway.config_connected import connected_models, connected_policies, connected_tiers
from gateway.config_errors import ConfigError, Fault, dotted, line_of, suggest
from gateway.config_prices import PricedModel, build_price_card
from gateway.config_reading import (
    ConfigText,
    FaultList,
    Shape,
    read_array,
    read_config_text,
    read_section,
    read_tables,
    split_tables,
)
from gateway.dialects.translation.index import reached
from gateway.providers.config import ProviderSection
from gateway.providers.http_client import parse_base_url
from routing.catalog import Catalog
from routing.config import (
    ConfigFault,
    ModelSection,
    PolicySection,
    TierSection,
    build_catalog,
    build_policies,
)
from routing.policies import Policy
from telemetry.config import TelemetrySection

DEFAULT_CONFIG = "config.toml"
CONFIG_ENV = "WEIR_CONFIG"
HOST_ENV = "WEIR_HOST"
PORT_ENV = "WEIR_PORT"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
DATA_DIR_ENV = "WEIR_DATA_DIR"
_AT_LAST_S = 1 << 62


class ServerSection(Section):
    """`[server]`: where the gateway listens, where it keeps its files, and its limits."""

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    data_dir: Annotated[str, Field(min_length=1)] = "data"
    org: Annotated[str, StringConstraints(pattern=f"^{TEAM_NAME.pattern}$")] = "default"
    demo_key: bool = True
    max_body_bytes: Annotated[int, Field(ge=1_024, le=1_073_741_824)] = 10_485_760
    body_timeout_s: Annotated[int, Field(ge=1, le=3_600)] = 30
    max_concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    request_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    drain_s: Annotated[int, Field(ge=1, le=3_600)] = 30
    lease_s: Annotated[int, Field(ge=2, le=172_800)] = 660
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    retry_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = 1_000
    answer_cap_tokens: Annotated[int, Field(ge=16, le=10_000_000)] = 4_096
    hold_step_tokens: Annotated[int, Field(ge=0, le=10_000_000)] = 512
    hosted_tool_uses: Annotated[int, Field(ge=0, le=1_000)] = 8
    least_audio_bits_per_s: Annotated[int, Field(ge=500, le=10_000_000)] = 8_000
    budget_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = 2_000
    budget_waiters: Annotated[int, Field(ge=0, le=100_000)] = 1_000
    max_new_ids_per_hour: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    infer_runs: bool = True
    infer_runs_kept: Annotated[int, Field(ge=100, le=10_000_000)] = 100_000
    infer_runs_idle_s: Annotated[int, Field(ge=60, le=604_800)] = 21_600
    journal_sync_ms: Annotated[int, Field(ge=1, le=1_000)] = 20
    metrics: Literal["key", "open", "off"] = "key"
    control_url: str = ""

    @field_validator("control_url")
    @classmethod
    def _control_url_is_usable(cls, value: str) -> str:
        if value:
            parse_base_url(value)
        return value


class AlertsSection(Section):
    """`[alerts]`: where it is told that a budget reached one of its thresholds."""

    webhook_url_env: Annotated[str, StringConstraints(pattern=ENV_NAME)] | None = None
    timeout_s: Annotated[int, Field(ge=1, le=60)] = 10
    attempts: Annotated[int, Field(ge=1, le=100)] = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, checked and ready for use.

    `prices` is keyed by the configured model name, which is each card's `price_model`. `off` maps
    the optional providers that were left out to the variable that would bring them in. `raw` is the
    file as it was read, for worker processes that start later.
    """

    path: Path
    data_dir: Path
    server: ServerSection
    providers: Mapping[str, ProviderSection]
    catalog: Catalog
    policies: Mapping[str, Policy]
    budgets: BudgetBook
    prices: PriceCard
    telemetry: TelemetrySection
    alerts: AlertsSection
    ledger: LedgerSection
    batches: BatchesSection
    off: Mapping[str, str]
    env: Mapping[str, str] = field(repr=False)
    raw: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class _Sections:
    """The sections of one file that passed their own checks."""

    server: ServerSection | None
    telemetry: TelemetrySection | None
    alerts: AlertsSection | None
    ledger: LedgerSection | None
    batches: BatchesSection | None
    providers: Mapping[str, ProviderSection]
    models: Mapping[str, ModelSection]
    pricing: Mapping[str, ModelPricing]
    tiers: Mapping[str, TierSection]
    policies: Mapping[str, PolicySection]
    budgets: Mapping[int, BudgetSection]


_SERVER: Shape[ServerSection] = Shape(ServerSection)
_TELEMETRY: Shape[TelemetrySection] = Shape(TelemetrySection)
_ALERTS: Shape[AlertsSection] = Shape(AlertsSection)
_LEDGER: Shape[LedgerSection] = Shape(LedgerSection)
_BATCHES: Shape[BatchesSection] = Shape(BatchesSection)
_PROVIDER: Shape[ProviderSection] = Shape(ProviderSection)
_PRICING: Shape[ModelPricing] = Shape(ModelPricing)
_MODEL: Shape[ModelSection] = Shape(ModelSection, also=ModelPricing)
_TIER: Shape[TierSection] = Shape(TierSection)
_POLICY: Shape[PolicySection] = Shape(PolicySection)
_BUDGET: Shape[BudgetSection] = Shape(BudgetSection)
_TOP_LEVEL = (
    "server",
    "ledger",
    "providers",
    "models",
    "tiers",
    "policies",
    "budgets",
    "telemetry",
    "alerts",
    "batches",
)


def config_path(env: Mapping[str, str]) -> Path:
    """The file to read: `WEIR_CONFIG`, else `config.toml` in the working directory."""
    return Path(env.get(CONFIG_ENV) or DEFAULT_CONFIG)


def load_settings(path: Path, env: Mapping[str, str], raw: bytes | None = None) -> Settings:
    """Read, check and wire the configuration; raise ConfigError with every fault found.

    `raw` is in place of what the file holds by now.
    `WEIR_HOST`, `WEIR_PORT` and `WEIR_DATA_DIR` in `env` win over the file; an empty variable
    counts as not set. A relative `data_dir` in the file is relative to the file's directory.
    """
    text = read_config_text(path, raw)
    faults = FaultList(text)
    sections = _read_sections(text, faults)
    server = _with_environment(sections.server, env, faults)
    check_references(_named(text, sections), faults)
    _check_webhook(sections.alerts, env, faults)
    off = _providers_left_out(sections, env, faults)
    models = connected_models(sections.models, off)
    tiers = connected_tiers(sections.tiers, sections.models, models, off, faults)
    prices = _read_prices(sections, models, faults)
    _check_ledger(sections.ledger, env, faults)
    faults.raise_if_any()
    if (
        server is None
        or sections.telemetry is None
        or sections.alerts is None
        or sections.ledger is None
        or sections.batches is None
    ):
        raise AssertionError("a section is missing without a fault")
    catalog, policies = _wire_routing(text, sections, models, tiers, prices)
    return Settings(
        path=path,
        data_dir=_data_dir(path, server, env),
        server=server,
        providers={n: p for n, p in sections.providers.items() if n not in off},
        catalog=catalog,
        policies=policies,
        budgets=BudgetBook(budget.to_budget() for budget in sections.budgets.values()),
        prices=prices,
        telemetry=sections.telemetry,
        alerts=sections.alerts,
        ledger=sections.ledger,
        batches=sections.batches,
        off=off,
        env=env,
        raw=text.raw,
    )


def _read_sections(text: ConfigText, faults: FaultList) -> _Sections:
    values = text.values
    for name in values:
        if name not in _TOP_LEVEL:
            faults.add((name,), "unknown section", suggest(name, _TOP_LEVEL))
    # A model's table belongs to two floors: budgets reads its prices, routing the rest.
    prices, models = split_tables(values.get("models", {}), ModelPricing)
    return _Sections(
        server=read_section(faults, ("server",), values.get("server", {}), _SERVER),
        telemetry=read_section(faults, ("telemetry",), values.get("telemetry", {}), _TELEMETRY),
        alerts=read_section(faults, ("alerts",), values.get("alerts", {}), _ALERTS),
        ledger=read_section(faults, ("ledger",), values.get("ledger", {}), _LEDGER),
        batches=read_section(faults, ("batches",), values.get("batches", {}), _BATCHES),
        providers=read_tables(faults, ("providers",), values.get("providers", {}), _PROVIDER),
        models=read_tables(faults, ("models",), models, _MODEL),
        pricing=read_tables(faults, ("models",), prices, _PRICING),
        tiers=read_tables(faults, ("tiers",), values.get("tiers", {}), _TIER),
        policies=read_tables(faults, ("policies",), values.get("policies", {}), _POLICY),
        budgets=read_array(faults, ("budgets",), values.get("budgets", []), _BUDGET),
    )


def _with_environment(
    server: ServerSection | None, env: Mapping[str, str], faults: FaultList
) -> ServerSection | None:
    changes: dict[str, object] = {}
    if env.get(HOST_ENV):
        changes["host"] = env[HOST_ENV]
    if env.get(PORT_ENV):
        port = env[PORT_ENV]
        if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            message = f"expected a port from 0 to 65535, got {port!r}"
            faults.add_elsewhere("environment", f"{PORT_ENV} (or --port)", message)
            return server
        changes["port"] = int(port)
    if server is None:
        return None
    if server.lease_s <= server.request_timeout_s:
        faults.add(
            ("server", "lease_s"),
            f"must be longer than request_timeout_s ({server.request_timeout_s}): money is held "
            "for lease_s, and a running request must not lose its hold",
        )
    return server.model_copy(update=changes)


def _check_ledger(ledger: LedgerSection | None, env: Mapping[str, str], faults: FaultList) -> None:
    """Redis needs an address, which may hold a password and so is never in the file."""
    if ledger is not None and ledger.store == "redis" and not env.get(ledger.redis_url_env):
        faults.add(
            ("ledger", "redis_url_env"),
            f"the environment variable {ledger.redis_url_env} is not set; set it to an address "
            'such as redis://localhost:6379/0, or write `store = "sqlite"`',
        )


def _data_dir(path: Path, server: ServerSection, env: Mapping[str, str]) -> Path:
    given = env.get(DATA_DIR_ENV)
    return Path(given) if given else path.parent / server.data_dir


def _named(text: ConfigText, sections: _Sections) -> Named:
    def names(section: str) -> list[str]:
        table = text.values.get(section, {})
        return list(table) if isinstance(table, dict) else []

    return Named(
        models=sections.models,
        tiers=sections.tiers,
        policies=sections.policies,
        budgets=sections.budgets,
        provider_names=names("providers"),
        model_names=names("models"),
        tier_names=names("tiers"),
        policy_names=names("policies"),
    )


def _providers_left_out(
    sections: _Sections, env: Mapping[str, str], faults: FaultList
) -> dict[str, str]:
    """Optional providers without their key; a needed one without its key is a fault."""
    off: dict[str, str] = {}
    for name, provider in sections.providers.items():
        variable = provider.missing_env(env)
        if variable is None:
            continue
        if provider.optional:
            off[name] = variable
        else:
            faults.add(
                ("providers", name, "api_key_env"),
                f"the environment variable {variable} is not set; set it, or write "
                "`optional = true` to do without this provider",
            )
    return off


def _check_webhook(alerts: AlertsSection | None, env: Mapping[str, str], faults: FaultList) -> None:
    """The URL may hold a secret, so a fault does not show it."""
    if alerts is None or alerts.webhook_url_env is None:
        return
    variable = alerts.webhook_url_env
    if not is_web_address(env.get(variable, "")):
        message = f"the environment variable {variable} must hold an http or https URL"
        faults.add(("alerts", "webhook_url_env"), message)


def _read_prices(
    sections: _Sections, models: Mapping[str, ModelSection], faults: FaultList
) -> PriceCard:
    """Prices of the connected models; those left out are checked all the same."""
    priced = {
        name: PricedModel(
            pricing,
            sections.models[name].upstream_model or name,
            _price_prefix(sections, sections.models[name].provider),
        )
        for name, pricing in sections.pricing.items()
        if name in sections.models
    }
    try:
        return build_price_card(priced, models, faults)
    except CardError as error:
        faults.add_elsewhere("price card", "", str(error))
        return PriceCard(())


def _answered(section: ProviderSection) -> frozenset[str]:
    """The dialects in which a provider can be asked, by itself or by translation."""
    return reached(section.dialects) if section.translate else frozenset(section.dialects)


def _price_prefix(sections: _Sections, provider: str) -> str:
    section = sections.providers.get(provider)
    return "" if section is None else section.price_prefix


def _wire_routing(
    text: ConfigText,
    sections: _Sections,
    models: Mapping[str, ModelSection],
    tiers: Mapping[str, TierSection],
    prices: PriceCard,
) -> tuple[Catalog, Mapping[str, Policy]]:
    """Catalog and policies; what they refuse beyond `check_references` is a fault as well."""
    aliases: dict[str, list[str]] = {name: [] for name in models}
    for name, alias, _ in standing_aliases(models):
        aliases[name].append(alias)
    named = {
        name: model.model_copy(update={"aliases": tuple(aliases[name])})
        for name, model in models.items()
    }
    try:
        spoken = {name: _answered(section) for name, section in sections.providers.items()}
        # What a model is for does not change with its price: any of them tells.
        priced = {name: prices.at(name, _AT_LAST_S) for name in named}
        catalog = build_catalog(named, tiers, spoken, priced)
        policies = connected_policies(sections.policies, models)
        return catalog, build_policies(policies, catalog)
    except ConfigFault as fault:
        line = line_of(text.lines, fault.path)
        hint = fault.suggestion or None
        raise ConfigError(
            [Fault(text.file, line, dotted(fault.path), fault.message, hint)]
        ) from fault
