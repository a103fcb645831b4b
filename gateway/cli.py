"""The `weir` command: serve, check, keys, budgets, explain, audit, prices, version.

Exit status: 0 done, 1 the answer is no (a fault, an unclean audit, nothing found), 2 it could not
be done. Commands import what they need when they run, so that each starts quickly.
"""
# ruff: noqa: PLC0415

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli_budgets import add_budgets
from gateway.cli_context import (
    DONE,
    FAILED,
    NO,
    CommandError,
    ask_gateway,
    environment,
    settings_of,
    with_books,
)
from gateway.cli_keys import add_keys

if TYPE_CHECKING:
    from gateway.config import Settings
    from telemetry.audit import AuditReport

PACKAGE = "weir-gateway"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is described in the module."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except CommandError as error:
        print(f"weir: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has had enough, such as `head`; Python must not complain while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weir",
        description="An OpenAI-compatible LLM gateway that reserves, routes, settles and explains.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    files = argparse.ArgumentParser(add_help=False)
    files.add_argument("--config", metavar="FILE", help="default: WEIR_CONFIG, else config.toml")
    files.add_argument("--data-dir", metavar="DIR", help="default: WEIR_DATA_DIR, else the file's")

    serve = commands.add_parser("serve", parents=[files], help="run the gateway")
    serve.add_argument("--host", help="address to listen on")
    serve.add_argument("--port", help="port to listen on; 0 picks a free one")
    serve.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that answer requests"
    )
    serve.add_argument(
        "--role",
        choices=("all", "gateway", "collector"),
        default="all",
        help="all: everything; gateway: only answers; collector: everything else",
    )
    serve.set_defaults(run=_serve)
    check = commands.add_parser("check", parents=[files], help="check the configuration")
    check.set_defaults(run=_check)
    add_keys(commands, files)
    add_budgets(commands, files)
    explain = commands.add_parser("explain", parents=[files], help="why a request went where")
    explain.add_argument("request_id", metavar="REQUEST_ID", help="from x-weir-request-id")
    explain.add_argument("--json", action="store_true", help="the whole record as JSON")
    explain.set_defaults(run=_explain)
    audit = commands.add_parser("audit", parents=[files], help="compare ledger and telemetry")
    audit.add_argument("--json", action="store_true", help="the report as JSON")
    audit.set_defaults(run=_audit)
    ledger = commands.add_parser("ledger", help="the ledger in Redis")
    verbs = ledger.add_subparsers(required=True, metavar="VERB")
    rebuild = verbs.add_parser("rebuild", parents=[files], help="put back what Redis forgot")
    rebuild.set_defaults(run=_rebuild_ledger)
    _add_prices(commands)
    commands.add_parser("version", help="print the version").set_defaults(run=_version)
    return parser


def _add_prices(commands: Any) -> None:
    prices = commands.add_parser("prices", help="the imported price card")
    verbs = prices.add_subparsers(required=True, metavar="VERB")
    importing = verbs.add_parser("import", help="write the card from litellm's price map")
    importing.add_argument("--map", metavar="FILE", help="default: the installed litellm's")
    importing.add_argument("--check", action="store_true", help="only say whether it would change")
    importing.set_defaults(run=_import_prices)
    show = verbs.add_parser("show", help="what the card knows of a model")
    show.add_argument("model", metavar="MODEL")
    show.set_defaults(run=_show_price)


def _serve(options: argparse.Namespace) -> int:
    from gateway.roles import RoleError, ServeRole, role_named

    try:
        role = role_named(options.role, options.workers)
        settings = settings_of(options)
        if role is ServeRole.GATEWAY:
            from gateway.front import serve_front

            return serve_front(settings)
        from gateway.app import serve

        return serve(settings, role, options.workers)
    except RoleError as error:
        raise CommandError(str(error)) from error


def _check(options: argparse.Namespace) -> int:
    from gateway.config import config_path, load_settings
    from gateway.config_errors import ConfigError

    env = environment(options)
    path = config_path(env)
    try:
        settings = load_settings(path, env)
    except ConfigError as error:
        print(error, file=sys.stderr)
        count = len(error.faults)
        print(f"weir: {path}: {count} fault{'s' if count > 1 else ''}", file=sys.stderr)
        return NO
    faults = _provider_faults(settings)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return NO
    models = len(settings.catalog.models)
    print(f"{path}: ok, {models} models in {len(settings.catalog.tiers)} tiers")
    for name, variable in settings.off.items():
        print(f"  provider {name} is left out: {variable} is not set")
    return DONE


def _provider_faults(settings: "Settings") -> list[str]:
    """What only making a provider finds out, such as a model file that is not there."""
    from gateway.providers.build import ProviderBuildError, build_provider

    faults = []
    for name, section in settings.providers.items():
        try:
            build_provider(name, section, settings.data_dir, settings.env)
        except ProviderBuildError as error:
            faults.append(f"{settings.path}: {error}")
    return faults


def _explain(options: argparse.Namespace) -> int:
    from gateway.cli_text import explain_text

    settings = settings_of(options)
    runs, found = ask_gateway(settings, "requests", options.request_id)
    if not runs:
        found = _offline_request(settings, options.request_id)
    if found is None:
        print(f"weir: no request {options.request_id!r} is on record", file=sys.stderr)
        return NO
    print(json.dumps(found, default=str) if options.json else explain_text(found))
    return DONE


def _audit(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    runs, answer = ask_gateway(settings, "audit")
    if runs and answer is None:
        raise CommandError("the running gateway has no audit; it is of another version")
    report = _offline_audit(settings) if answer is None else _report(answer)
    print(json.dumps(report.to_dict()) if options.json else report.to_text())
    return DONE if report.clean else NO


def _report(answer: Mapping[str, Any]) -> "AuditReport":
    """The gateway's JSON as the report it was made from."""
    from telemetry.audit import AuditReport, Difference

    try:
        differences = tuple(Difference(**difference) for difference in answer["differences"])
        values = {**answer, "differences": differences, "faults": tuple(answer["faults"])}
        return AuditReport(**values)
    except (KeyError, TypeError) as error:
        raise CommandError(f"the running gateway is of another version: {error}") from error


def _offline_audit(settings: "Settings") -> "AuditReport":
    from gateway.offline import offline_audit

    return with_books(lambda: offline_audit(settings))


def _offline_request(settings: "Settings", request_id: str) -> Mapping[str, Any] | None:
    from gateway.offline import offline_request

    return with_books(lambda: offline_request(settings, request_id))


def _rebuild_ledger(options: argparse.Namespace) -> int:
    from gateway.offline import rebuild_ledger

    settings = settings_of(options)
    added = with_books(lambda: rebuild_ledger(settings))
    print(f"the ledger is complete: {added} entries were put back")
    return DONE


def _import_prices(options: argparse.Namespace) -> int:
    from budgets.price_card import CARD_PATH
    from budgets.price_import import PriceImportError, import_litellm_prices

    try:
        card = import_litellm_prices(Path(options.map) if options.map else None)
        current = CARD_PATH.read_text(encoding="utf-8") if CARD_PATH.exists() else ""
        if options.check:
            same = card.text == current
            print(f"{CARD_PATH}: {'up to date with' if same else 'differs from'} {card.version}")
            return DONE if same else NO
        draft = CARD_PATH.with_suffix(".json.new")
        draft.write_text(card.text, encoding="utf-8")
        draft.replace(CARD_PATH)
    except (PriceImportError, OSError) as error:
        raise CommandError(str(error)) from error
    print(
        f"{CARD_PATH}: {card.kept} models from {card.version}; "
        f"{card.skipped} are not billed by the token"
    )
    return DONE


def _show_price(options: argparse.Namespace) -> int:
    from budgets.price_card import CardError, card_names, read_card
    from gateway.cli_text import price_text
    from gateway.config_errors import suggest

    try:
        found = read_card({options.model}).get(options.model)
        if found is None:
            close = suggest(options.model, card_names())
            hint = f" (did you mean {close!r}?)" if close else ""
            print(f"weir: {options.model!r} is not on the price card{hint}", file=sys.stderr)
            return NO
    except CardError as error:
        raise CommandError(str(error)) from error
    print(price_text(found))
    return DONE


def _version(_: argparse.Namespace) -> int:
    print(version(PACKAGE))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
