"""What commands share: their settings, the running gateway, and how a command fails."""
# ruff: noqa: PLC0415

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from gateway.config import Settings

T = TypeVar("T")
DONE, NO, FAILED = 0, 1, 2


class CommandError(RuntimeError):
    """A command that could not be carried out; the message is for its user."""


def environment(options: argparse.Namespace) -> Mapping[str, str]:
    """The environment, with the command's own options in place of its variables."""
    given = {
        "WEIR_CONFIG": options.config,
        "WEIR_DATA_DIR": options.data_dir,
        "WEIR_HOST": getattr(options, "host", None),
        "WEIR_PORT": getattr(options, "port", None),
    }
    return {**os.environ, **{name: value for name, value in given.items() if value is not None}}


def settings_of(options: argparse.Namespace) -> "Settings":
    """The checked configuration; CommandError with every fault otherwise."""
    from gateway.config import config_path, load_settings
    from gateway.config_errors import ConfigError

    env = environment(options)
    try:
        return load_settings(config_path(env), env)
    except ConfigError as error:
        raise CommandError(f"the configuration has faults\n{error}") from error


def now_ms() -> int:
    """Milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


def ask_gateway(
    settings: "Settings",
    *path: str,
    method: str = "GET",
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> tuple[bool, Mapping[str, Any] | None]:
    """Whether a gateway runs on these settings' data directory, and its answer."""
    from gateway.admin_client import AdminClientError, ask, running_gateway
    from gateway.auth import AuthError, load_secret

    try:
        gateway = running_gateway(settings.data_dir)
        if gateway is None:
            return False, None
        secret = load_secret(settings.data_dir, settings.env)
        return True, ask(gateway, secret.admin_key, *path, method=method, body=body, query=query)
    except (AdminClientError, AuthError) as error:
        raise CommandError(str(error)) from error


def with_books(read: Callable[[], T]) -> T:
    """Read the files of a gateway that is down; CommandError where they cannot be."""
    from sqlite3 import Error as SqliteError

    from budgets.ledger import LedgerError
    from gateway.auth import AuthError
    from gateway.data_dir import DataDirError
    from gateway.registries.port import RegistryError
    from telemetry.warehouse import WarehouseError

    try:
        return read()
    except (
        AuthError,
        DataDirError,
        LedgerError,
        RegistryError,
        WarehouseError,
        SqliteError,
        OSError,
    ) as error:
        raise CommandError(f"no gateway runs, and its files cannot be read: {error}") from error
