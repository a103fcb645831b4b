"""What commands print for people: one request explained, keys and prices as tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from budgets.actions import Action
from budgets.burndown import MIN_REQUESTS, MIN_SPAN_S, Outlook
from budgets.money import MS_PER_MINUTE, format_usd
from budgets.price_card import CardModel
from budgets.scopes import Unit
from budgets.units import in_words
from budgets.usage import RECORDED_CLASSES, TOKEN_CLASSES
from gateway.registries.port import KeyRecord

Row = Mapping[str, Any]
_SOURCES = {"config": "file", "api": "API"}
_ACTIONS = {
    Action.ALERT: "alert",
    Action.DEGRADE: "cheaper tier for auto",
    Action.REFUSE: "refuse",
    Action.KILL_RUN: "kill the run",
}
_OUTLOOKS = {
    Outlook.NOT_ENOUGH_HISTORY: f"not enough history: {MIN_REQUESTS} requests that cost something "
    f"over {MIN_SPAN_S // 60} minutes are needed",
    Outlook.SPENT: "spent",
    Outlook.LASTS: "lasts at this rate",
}


def explain_text(row: Row) -> str:
    """A request from caller to ending, with every model that was not taken and why.

    `row` is one telemetry event; evidence may be JSON text or already read.
    """
    decision = _evidence(row, "decision_json")
    parts = [
        _fields("request", _request_lines(row)),
        _fields("classified", _classification_lines(row)),
        _fields("decision", _decision_lines(row, decision)),
        _list("candidates", _candidate_lines(decision)),
        _list("not taken", _rejection_lines(decision)),
        _fields("tokens", _token_lines(row)),
        _fields("cost", _cost_lines(row)),
        _list("attempts", _attempt_lines(row)),
        _fields("ending", _ending_lines(row)),
    ]
    return "\n\n".join(part for part in parts if part)


def _evidence(row: Row, name: str) -> Mapping[str, Any]:
    value = row.get(name)
    if isinstance(value, str):
        value = json.loads(value) if value else {}
    return value if isinstance(value, Mapping) else {}


def _fields(title: str, lines: Iterator[tuple[str, object]]) -> str:
    shown = [(name, str(value)) for name, value in lines if value not in ("", None)]
    if not shown:
        return ""
    width = max(len(name) for name, _ in shown)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in shown)])


def _list(title: str, lines: Iterator[str]) -> str:
    shown = [f"  {line}" for line in lines]
    return "\n".join([title, *shown]) if shown else ""


def _time(moment_ms: object) -> str:
    if not isinstance(moment_ms, int):
        return ""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")


def _request_lines(row: Row) -> Iterator[tuple[str, object]]:
    yield "id", row.get("request_id")
    yield "at", _time(row.get("admitted_ms"))
    yield "asked for", row.get("requested_model")
    answered, failed = row.get("batch_requests"), row.get("batch_failed")
    if answered or failed:
        yield "batch of", f"{answered} answered and {failed} other requests"
    yield "streamed", "yes" if row.get("streamed") else "no"
    yield "caller", f"key {row.get('key_id')}, team {row.get('team')}, org {row.get('org')}"
    yield "workflow", row.get("workflow")
    claims = _evidence(row, "attribution_json")
    strength = claims.get("run", {}).get("strength", "")
    source = row.get("run_source")
    told = f", {strength}" if strength not in ("", source) else ""
    yield "run", f"{row.get('run_id')} (from {source}{told})"
    for party, claim in claims.items():
        if party != "run":
            yield f"{party.replace('_', ' ')} from", f"{claim['source']}, {claim['strength']}"


def _classification_lines(row: Row) -> Iterator[tuple[str, object]]:
    yield "task", row.get("task")
    yield "difficulty", row.get("difficulty")
    reasons = _evidence(row, "classification_json").get("reasons", ())
    yield "because", "; ".join(str(reason) for reason in reasons)


def _decision_lines(row: Row, decision: Row) -> Iterator[tuple[str, object]]:
    yield "policy", row.get("policy")
    yield "rule", decision.get("rule")
    yield "because", row.get("reason")
    for missed in decision.get("missed_rules", ()):
        yield "no match", f"{missed['rule']}: {missed['why']}"
    yield "tier", row.get("tier")
    degraded = decision.get("degraded")
    if degraded:
        used = f"{degraded['used'] * 100:g} % of {degraded['budget']} ({degraded['scope']}) is used"
        yield "degraded", f"{degraded['from_tier']} -> {degraded['to_tier']}: {used}"
    if row.get("model"):
        yield "model", f"{row['model']} ({row.get('upstream_model')} at {row.get('provider')})"
    headroom = decision.get("headroom_nano")
    yield "budget left", "" if headroom is None else _usd(headroom)


def _candidate_lines(decision: Row) -> Iterator[str]:
    for place, candidate in enumerate(decision.get("candidates", ()), start=1):
        ceiling = candidate.get("ceiling_nano")
        most = "price unknown" if ceiling is None else f"at most {_usd(ceiling)}"
        yield f"{place}. {candidate['model']}: {most}, {candidate['output_tokens']} output tokens"


def _rejection_lines(decision: Row) -> Iterator[str]:
    for rejected in decision.get("rejected", ()):
        yield f"{rejected['model']}: {rejected['why']} ({rejected['code']})"


def _token_lines(row: Row) -> Iterator[tuple[str, object]]:
    for name in RECORDED_CLASSES:
        count = row.get(f"{name}_tokens")
        yield name.replace("_", " "), count or ""
    yield "counted by", row.get("usage_source")


def _cost_lines(row: Row) -> Iterator[tuple[str, object]]:
    yield "reserved", _usd(row.get("reserved_nano"))
    yield "input", _usd(row.get("input_cost_nano"))
    yield "output", _usd(row.get("output_cost_nano"))
    yield "total", _usd(row.get("cost_nano"))
    overrun = row.get("overrun_nano")
    yield "overrun", _usd(overrun) if overrun else ""
    yield "at frontier price", _usd(row.get("frontier_cost_nano"))
    yield "price", row.get("price_version")
    yield "basis", row.get("basis")


def _attempt_lines(row: Row) -> Iterator[str]:
    for tried in row.get("attempt_rows", ()):
        what = tried["fault"] or f"status {tried['status']}"
        pause = f"after {tried['waited_ms']:.0f} ms, " if tried["waited_ms"] else ""
        took = "" if tried["took_ms"] is None else f" in {tried['took_ms']:.3f} ms"
        yield (
            f"{tried['attempt']}. {pause}{tried['model']} ({tried['upstream_model']} at "
            f"{tried['provider']}): {what}{took}, {_usd(tried['cost_nano'])}"
        )


def _ending_lines(row: Row) -> Iterator[tuple[str, object]]:
    yield "how", row.get("ending")
    yield "status", row.get("status")
    yield "error", row.get("error_code")
    yield "attempts", row.get("attempts")
    for name, label in (
        ("first_byte_ms", "first byte"),
        ("waited_ms", "waited for money"),
        ("total_ms", "whole request"),
        ("gateway_ms", "in the gateway"),
    ):
        value = row.get(name)
        told = value is not None and (value or name != "waited_ms")
        yield label, f"{value:.3f} ms" if told else ""
    yield "provider's id", row.get("upstream_request_id")


def _usd(amount_nano: object) -> str:
    return f"${format_usd(amount_nano)}" if isinstance(amount_nano, int) else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
    return "\n".join(lines)


def keys_text(records: Sequence[KeyRecord]) -> str:
    """Every key with whom it is charged to."""
    rows = [
        (
            record.key_id,
            record.name,
            record.team,
            record.workflow,
            record.role.value,
            record.policy or "default",
            _time(record.created_ms)[:10],
            _time(record.revoked_ms)[:10] or "-",
        )
        for record in records
    ]
    header = ("ID", "NAME", "TEAM", "WORKFLOW", "ROLE", "POLICY", "CREATED", "REVOKED")
    return table(header, rows) if rows else "no keys; make one with `weir keys create`"


def budgets_text(rows: Sequence[Row]) -> str:
    """Every budget with its scopes; one that was set over the API is marked."""
    cells = [
        (
            row["name"],
            row["scope"],
            *[_amount(row, name) for name in ("limit", "posted", "held", "left")],
            _moment(row["resets_at_s"]) or "-",
            _source(row),
        )
        for row in rows
    ]
    header = ("NAME", "SCOPE", "LIMIT", "SPENT", "HELD", "LEFT", "RESETS", "FROM")
    return table(header, cells) if cells else "no budget has a scope that spent yet"


def _amount(row: Row, name: str) -> str:
    return in_words(row[f"{name}_nano"], Unit(row["unit"]))


def _source(row: Row) -> str:
    return "API, in place of the file's" if row["replaces_config"] else _SOURCES[row["source"]]


def _moment(moment_s: int | None) -> str:
    return "" if moment_s is None else f"{_time(moment_s * 1_000)[:16]} UTC"


def budget_text(name: str, rows: Sequence[Row]) -> str:
    """One budget, scope by scope, with the rate, what it rests on and where it leads."""
    blocks = [_fields(str(row["scope"]), _budget_lines(row)) for row in rows]
    return "\n\n".join(blocks) if blocks else f"{name}: nothing was spent in this window"


def _budget_lines(row: Row) -> Iterator[tuple[str, object]]:
    yield "limit", f"{_amount(row, 'limit')} ({row['window']}, {row['timezone']})"
    yield "spent", _amount(row, "posted")
    yield "held", _amount(row, "held")
    yield "left", _amount(row, "left")
    yield "resets", _moment(row["resets_at_s"])
    yield "kept for landing", f"{row['landing']:.1%}" if row["landing"] else ""
    for entry in row["at"]:
        yield f"at {entry['share']:.1%}", _ACTIONS[Action(entry["action"])]
    yield "from", _source(row)
    burndown, sample = row["burndown"], row["sample"]
    if burndown["nano_per_hour"] is not None:
        unit = Unit(row["unit"])
        hourly, daily = (
            in_words(burndown[f"nano_per_{period}"], unit) for period in ("hour", "day")
        )
        yield "rate", f"{hourly}/hour, {daily}/day"
    yield "sample", f"{sample['requests']} requests in {sample['span_s'] / 3_600:.1f} hours"
    yield "forecast", _forecast(burndown)


def _forecast(burndown: Row) -> str:
    if burndown["outlook"] == Outlook.RUNS_OUT:
        return f"runs out at {_moment(burndown['runs_out_at_s'])} if spending goes on like this"
    return _OUTLOOKS[burndown["outlook"]]


def advice_text(report: Row) -> str:
    """The advised cap of each workflow, or how many runs are missing, and what was left out."""
    share, days = f"{report['stop_share'] * 100:g} %", report["days"]
    if not report["workflows"]:
        return f"no runs in the last {days} days"
    cells = [
        (
            row["workflow"],
            f"{row['runs']} ({row['single_requests']} single)",
            _short_usd(row["median_nano"]),
            _short_usd(row["quantile_nano"]),
            _cap(row),
            _would_have_stopped(row["stopped"]),
            ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in row["left_out"].items() if n),
        )
        for row in report["workflows"]
    ]
    rank = f"{(1 - report['stop_share']) * 100:g} % COST"
    header = ("WORKFLOW", "RUNS", "MEDIAN", rank, "CAP", "WOULD HAVE STOPPED", "LEFT OUT")
    return (
        f"{table(header, cells)}\n\n"
        f"A cap stops at most {share} of further runs, if they are like those of the last {days} "
        f"days.\nIt takes {report['runs_needed']} runs. docs/cli.md says which runs count."
    )


def _cap(row: Row) -> str:
    if row["missing_runs"] > 0:
        return f"too few: {row['missing_runs']} more runs needed"
    return _short_usd(row["cap_nano"])


def _would_have_stopped(stopped: Row | None) -> str:
    if stopped is None:
        return "-"
    low, high = stopped["low"] * 100, stopped["high"] * 100
    return f"{stopped['runs']}: {stopped['share'] * 100:.1f} % ({low:.1f} to {high:.1f})"


def _short_usd(amount_nano: int | None) -> str:
    """Dollars without the zeros at the end, but with cents."""
    if amount_nano is None:
        return "-"
    whole, _, fraction = format_usd(amount_nano).partition(".")
    return f"${whole}.{fraction.rstrip('0').ljust(2, '0')}"


# How a price by the piece is shown, and how many of its rates that is.
_UNITS = {
    "images": ("images", 1),
    "characters": ("characters", 1),
    "sound_ms": ("minutes", MS_PER_MINUTE),
}


def price_text(model: CardModel) -> str:
    """A card entry in dollars for a million tokens, images, characters or minutes."""
    header = ("SERVICE TIER", "ABOVE INPUT TOKENS", "CLASS", "USD / 1M")
    rows = [
        (price.service_tier, str(rates.above_input_tokens), name, _per_million(rates.pico[name]))
        for price in model.prices
        for rates in price.tiers
        for name in TOKEN_CLASSES
        if name in rates.pico
    ]
    rows += [
        (price.service_tier, "0", name, _per_million(rate * each))
        for price in model.prices
        for unit, rate in price.units.items()
        for name, each in (_UNITS[unit],)
    ]
    facts = [f"{model.name} ({model.prices[0].version})"]
    if model.max_input_tokens or model.max_output_tokens:
        facts.append(f"input {model.max_input_tokens}, output {model.max_output_tokens} tokens")
    if model.capabilities:
        facts.append(", ".join(model.capabilities))
    return "\n".join([*facts, "", table(header, rows)])


def _per_million(pico: int) -> str:
    """1 pico-USD a token is 0.000001 USD for a million tokens."""
    whole, fraction = divmod(pico, 1_000_000)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{digits}"
