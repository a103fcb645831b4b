"""`weir keys`: make, list and revoke API keys, where the registry of this configuration is."""
# ruff: noqa: PLC0415

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.cli_context import DONE, NO, CommandError, now_ms, settings_of

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.key_registry import KeyRegistry

T = TypeVar("T")


def add_keys(commands: Any, files: argparse.ArgumentParser) -> None:
    """Add the command and its verbs."""
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    verbs = keys.add_subparsers(required=True, metavar="VERB")
    create = verbs.add_parser("create", parents=[files], help="make a key; it is shown once")
    create.add_argument("--name", help="what the key is for; default: TEAM/WORKFLOW")
    create.add_argument("--team", required=True, help="the team it is charged to")
    create.add_argument("--workflow", required=True, help="where a request names no workflow")
    create.add_argument("--policy", help="the policy behind `auto` for this key")
    create.add_argument("--role", choices=("data", "admin"), default="data")
    create.add_argument("--json", action="store_true", help="the key and its record as JSON")
    create.set_defaults(run=_create_key)
    listing = verbs.add_parser("list", parents=[files], help="every key ever made")
    listing.add_argument("--json", action="store_true", help="the records as JSON")
    listing.set_defaults(run=_list_keys)
    revoke = verbs.add_parser("revoke", parents=[files], help="end a key within a second")
    revoke.add_argument("key_id", metavar="KEY_ID")
    revoke.set_defaults(run=_revoke_key)


def _with_registry(settings: "Settings", use: "Callable[[KeyRegistry], Awaitable[T]]") -> T:
    """Ask the registry; CommandError where it cannot be used."""
    from gateway.auth import AuthError, load_secret
    from gateway.data_dir import DataDir
    from gateway.key_registry import KeyRegistry
    from gateway.registries.port import RegistryError
    from gateway.registry_choice import open_stores

    async def asked() -> T:
        data = DataDir(settings.data_dir)
        secret = load_secret(data.path, settings.env)
        async with open_stores(settings, data) as stores:
            return await use(KeyRegistry(stores.keys, secret, org=settings.server.org))

    try:
        return asyncio.run(asked())
    except (AuthError, RegistryError) as error:
        raise CommandError(str(error)) from error


def _create_key(options: argparse.Namespace) -> int:
    from gateway.auth import Role
    from gateway.config_errors import suggest
    from gateway.key_registry import KeyRegistryError, NewKey

    settings = settings_of(options)
    if options.policy is not None and options.policy not in settings.policies:
        close = suggest(options.policy, settings.policies)
        hint = f" (did you mean {close!r}?)" if close else ""
        raise CommandError(f"--policy: there is no policy {options.policy!r}{hint}")
    name = f"{options.team}/{options.workflow}" if options.name is None else options.name
    new = NewKey(name, options.team, options.workflow, Role(options.role), options.policy)
    try:
        record, key = _with_registry(settings, lambda registry: registry.create(new, now_ms()))
    except KeyRegistryError as error:
        raise CommandError(f"--{error}") from error
    if options.json:
        print(json.dumps({**asdict(record), "key": key}))
    else:
        print(f"{key}\nid {record.key_id}; this is the only time the key is shown")
    return DONE


def _list_keys(options: argparse.Namespace) -> int:
    from gateway.cli_text import keys_text

    records = _with_registry(settings_of(options), lambda registry: registry.list())
    print(
        json.dumps([asdict(record) for record in records]) if options.json else keys_text(records)
    )
    return DONE


def _revoke_key(options: argparse.Namespace) -> int:
    record = _with_registry(
        settings_of(options), lambda registry: registry.revoke(options.key_id, now_ms())
    )
    if record is None:
        print(f"weir: no key {options.key_id!r}; `weir keys list` shows them", file=sys.stderr)
        return NO
    print(f"{record.key_id} ({record.name}) is revoked; a running gateway knows within a second")
    return DONE
