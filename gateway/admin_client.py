"""How a command finds the running gateway and asks it: `gateway.json` and the admin API.

The gateway alone opens the telemetry database, so `explain` and `audit` go through it while it
runs. Its address is in `gateway.json` in the data directory.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

GATEWAY_FILE = "gateway.json"
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class AdminClientError(RuntimeError):
    """The running gateway gave no usable answer; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway whose process is alive."""

    pid: int
    base_url: str


def running_gateway(data_dir: Path) -> RunningGateway | None:
    """The gateway that serves this data directory, or None where none runs."""
    try:
        noted = json.loads((data_dir / GATEWAY_FILE).read_bytes())
        gateway = RunningGateway(int(noted["pid"]), str(noted["base_url"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdminClientError(
            f"{data_dir / GATEWAY_FILE}: {error}; delete the file if no gateway runs"
        ) from error
    return gateway if _is_alive(gateway) else None


def _is_alive(gateway: RunningGateway) -> bool:
    """Whether the process runs and listens; process numbers are reused, so both must hold."""
    try:
        os.kill(gateway.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    address = urlsplit(gateway.base_url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=2.0):
            return True
    except ConnectionRefusedError:
        return False
    except OSError as error:
        raise AdminClientError(f"{gateway.base_url} cannot be reached: {error}") from error


def ask(
    gateway: RunningGateway,
    admin_key: str,
    *path: str,
    method: str = "GET",
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
) -> Mapping[str, Any] | None:
    """Ask `/admin/PATH`; None for 404, AdminClientError for everything else that fails.

    Proxies of the environment are not used: the gateway runs on this machine.
    """
    url = "/".join(
        (gateway.base_url.rstrip("/"), "admin", *(quote(part, safe="") for part in path))
    )
    if query:
        url = f"{url}?{urlencode(query)}"
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {admin_key}", "Content-Type": "application/json"}
    request = Request(url, data, headers, method=method)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=timeout_s) as response:
            answer = json.loads(response.read(MAX_ANSWER_BYTES))
    except HTTPError as error:
        if error.code == 404:
            return None
        raise AdminClientError(_refused(gateway, error)) from error
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise AdminClientError(
            f"the gateway (process {gateway.pid}) does not answer at {gateway.base_url}: {reason}"
        ) from error
    if not isinstance(answer, dict):
        raise AdminClientError(f"{url} answered with something that is no JSON object")
    return answer


def _refused(gateway: RunningGateway, error: HTTPError) -> str:
    if error.code == 401:
        return (
            f"the gateway at {gateway.base_url} does not know this admin key: it runs with another "
            "secret; use the same --data-dir and WEIR_SECRET"
        )
    try:
        return str(json.loads(error.read(MAX_ANSWER_BYTES))["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the gateway at {gateway.base_url} answered with status {error.code}"
