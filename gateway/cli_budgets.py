"""`weir budgets`: list, show, set, delete and advise, with a running gateway or its files."""
# ruff: noqa: PLC0415

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.cli_context import (
    DONE,
    NO,
    CommandError,
    ask_gateway,
    now_ms,
    settings_of,
    with_books,
)

if TYPE_CHECKING:
    from gateway.budget_advice import AdviceQuestion
    from gateway.budget_registry import BudgetRegistry
    from gateway.config import Settings

T = TypeVar("T")
OFFLINE = "command line"


def add_budgets(commands: Any, files: argparse.ArgumentParser) -> None:
    """Add the command and its verbs."""
    budgets = commands.add_parser("budgets", help="list, show, set and delete budgets")
    verbs = budgets.add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", parents=[files], help="every budget in effect")
    listing.add_argument("--json", action="store_true", help="the rows as JSON")
    listing.set_defaults(run=_list)
    show = verbs.add_parser("show", parents=[files], help="one budget with rate and forecast")
    show.add_argument("name", metavar="NAME", help="such as key:demo/month")
    show.add_argument("--json", action="store_true", help="the rows as JSON")
    show.set_defaults(run=_show)
    setting = verbs.add_parser("set", parents=[files], help="set a budget, at once")
    setting.add_argument("--scope", required=True, help="such as key:demo or user:lab/*")
    setting.add_argument("--window", required=True, help="such as month, or 24h for a rolling one")
    limit = setting.add_mutually_exclusive_group(required=True)
    limit.add_argument("--limit-usd", metavar="USD", help="such as 12.50")
    limit.add_argument("--limit-tokens", metavar="TOKENS", help="such as 2_000_000")
    limit.add_argument("--limit-requests", metavar="REQUESTS", help="such as 500")
    setting.add_argument("--timezone", default="UTC", help="where days and months begin")
    setting.add_argument("--alert-at", metavar="SHARES", help="such as 0.5,0.8,1")
    setting.add_argument("--at", metavar="ACTIONS", help="such as 0.9=degrade,1=refuse")
    setting.add_argument(
        "--when-unreachable", choices=("deny", "allow"), help="while Redis is away; default: deny"
    )
    setting.add_argument("--landing", metavar="SHARE", help="kept for a run's end, such as 0.1")
    setting.set_defaults(run=_set)
    advice = verbs.add_parser("advice", parents=[files], help="the cap that stops few normal runs")
    advice.add_argument("--workflow", metavar="TEAM/NAME", help="default: every workflow")
    advice.add_argument("--days", metavar="N", help="how far back; default: 30")
    advice.add_argument("--stop-share", metavar="SHARE", help="of normal runs; default: 0.02")
    advice.add_argument("--json", action="store_true", help="the report as JSON")
    advice.set_defaults(run=_advice)
    delete = verbs.add_parser("delete", parents=[files], help="delete a budget that was set")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(run=_delete)


def _list(options: argparse.Namespace) -> int:
    from gateway.cli_text import budgets_text

    settings = settings_of(options)
    runs, answer = ask_gateway(settings, "budgets")
    rows = _rows_of(answer) if runs else _offline_rows(settings, None)
    print(json.dumps(rows) if options.json else budgets_text(rows or ()))
    return DONE


def _show(options: argparse.Namespace) -> int:
    from gateway.cli_text import budget_text

    settings = settings_of(options)
    runs, answer = ask_gateway(settings, "budgets", options.name)
    rows = _rows_of(answer) if runs else _offline_rows(settings, options.name)
    if rows is None:
        print(f"weir: no budget {options.name!r}; `weir budgets list` names them", file=sys.stderr)
        return NO
    print(json.dumps(rows) if options.json else budget_text(options.name, rows))
    return DONE


def _rows_of(answer: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]] | None:
    return None if answer is None else list(answer["budgets"])


def _offline_rows(settings: "Settings", name: str | None) -> Sequence[Mapping[str, Any]] | None:
    from gateway.offline import offline_budgets

    return with_books(lambda: offline_budgets(settings, name))


def _threshold(entry: str) -> dict[str, str]:
    """`0.9=degrade` as the configuration writes it."""
    share, equals, action = entry.partition("=")
    return {"share": share.strip(), "action": action.strip()} if equals else {"share": entry}


def _advice(options: argparse.Namespace) -> int:
    from gateway.budget_advice import AdviceFault, read_question
    from gateway.cli_text import advice_text

    asked = {
        "workflow": options.workflow,
        "days": options.days,
        "stop_share": options.stop_share,
    }
    try:
        question = read_question(**asked)
    except AdviceFault as error:
        raise CommandError(f"--{str(error).replace('_', '-', 1)}") from error
    settings = settings_of(options)
    query = {name: text for name, text in asked.items() if text is not None}
    runs, report = ask_gateway(settings, "budgets", "advice", query=query)
    if not runs:
        report = _offline_advice(settings, question)
    if report is None:
        raise CommandError("the running gateway gives no advice; it is of another version")
    print(json.dumps(report) if options.json else advice_text(report))
    return DONE if report["workflows"] else NO


def _offline_advice(settings: "Settings", question: "AdviceQuestion") -> Mapping[str, Any]:
    from gateway.offline import offline_advice

    return with_books(lambda: offline_advice(settings, question))


def _set(options: argparse.Namespace) -> int:
    from gateway.budget_registry import BudgetFault, read_budget, terms_of
    from gateway.config_checks import nobodys_budget

    settings = settings_of(options)
    given: dict[str, Any] = {
        "scope": options.scope,
        "window": options.window,
        "timezone": options.timezone,
        "alert_at": [share for share in (options.alert_at or "").split(",") if share],
    }
    optional = ("limit_usd", "limit_tokens", "limit_requests", "landing", "when_unreachable")
    for name in optional:
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    if options.at is not None:
        given["at"] = [_threshold(entry) for entry in options.at.split(",")]
    try:
        section = read_budget(given)
        nobody = nobodys_budget(section.to_budget(), settings.catalog.models)
        if nobody is not None:
            raise BudgetFault("scope", nobody)
    except BudgetFault as error:
        raise CommandError(f"--{str(error).replace('_', '-', 1)}") from error
    shared = settings.ledger.store == "redis"
    runs, answer = ask_gateway(settings, "budgets", method="PUT", body=terms_of(section))
    if runs and answer is None:
        raise CommandError("the running gateway cannot set budgets; it is of another version")
    if not runs:
        _with_registry(settings, lambda registry: registry.put(section, OFFLINE, now_ms()))
    when = "in effect" if runs or shared else "in effect when the gateway starts"
    print(f"{section.to_budget().name} is {when}")
    return DONE


def _delete(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    runs, answer = ask_gateway(settings, "budgets", options.name, method="DELETE")
    if runs:
        deleted = answer is not None
    else:
        deleted = _with_registry(
            settings, lambda registry: registry.remove(options.name, OFFLINE, now_ms())
        )
    if not deleted:
        print(f"weir: no budget {options.name!r} was set; `weir budgets list`", file=sys.stderr)
        return NO
    print(f"{options.name} is deleted")
    return DONE


def _with_registry(settings: "Settings", change: "Callable[[BudgetRegistry], Awaitable[T]]") -> T:
    """Change the registry without a gateway; CommandError where that cannot be done.

    One in a file belongs to its gateway, so none may run. One in Redis may be changed by anybody.
    """
    from gateway.auth import AuthError
    from gateway.budget_registry import BudgetRegistry
    from gateway.data_dir import DataDir, DataDirError
    from gateway.registries.port import RegistryError
    from gateway.registry_choice import open_stores

    data = DataDir(settings.data_dir)
    shared = settings.ledger.store == "redis"

    async def changed() -> T:
        with nullcontext() if shared else data.owned():
            async with open_stores(settings, data) as stores:
                return await change(BudgetRegistry(stores.budgets))

    try:
        return asyncio.run(changed())
    except (AuthError, DataDirError, RegistryError) as error:
        raise CommandError(str(error)) from error
