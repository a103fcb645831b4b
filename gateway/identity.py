"""Which workflow and run a request belongs to.

The key decides the team; what a client sends only refines inside it, so nobody can charge another
team's workflow. In order: `x-weir-*` headers, the body's `metadata`, the key's own defaults. A
request that names no run is a run of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from budgets.scopes import Scopes
from budgets.value import value
from gateway.auth import Principal
from gateway.errors import bad_request

WORKFLOW_HEADER = "x-weir-workflow"
RUN_HEADER = "x-weir-run"
OWN_RUN = "request"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/ -]{0,127}")


@value
class Identity:
    """The parties of a request; `run_source` says where the run's name came from."""

    scopes: Scopes
    workflow: str
    run: str
    run_source: str

    @property
    def shared_scopes(self) -> Scopes:
        """The scopes that other requests may share: a run of its own is left out."""
        return replace(self.scopes, run="") if self.run_source == OWN_RUN else self.scopes


def identify(
    principal: Principal,
    headers: Mapping[bytes, bytes],
    body: Mapping[str, Any],
    request_id: str,
) -> Identity:
    """Resolve workflow and run; raise ApiError (400) for a name that cannot be one."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    workflow = (
        _from_header(headers, WORKFLOW_HEADER)
        or _from_metadata(metadata, "workflow")
        or principal.workflow
    )
    run, source = _from_header(headers, RUN_HEADER), "header"
    if run is None:
        run, source = _from_metadata(metadata, "run"), "metadata"
    if run is None:
        run, source = f"run-{request_id.removeprefix('req_')}", OWN_RUN
    scopes = Scopes(
        org=principal.org,
        team=principal.team,
        key=principal.key_id,
        workflow=f"{principal.team}/{workflow}",
        run=f"{principal.team}/{run}",
    )
    return Identity(scopes, workflow, run, source)


def _from_header(headers: Mapping[bytes, bytes], name: str) -> str | None:
    value = headers.get(name.encode())
    return None if value is None else _checked(value.decode("latin-1"), f"header {name}", name)


def _from_metadata(metadata: Mapping[str, Any], name: str) -> str | None:
    """`metadata.weir_workflow`, or plainly `metadata.workflow` where it can be a name."""
    value = metadata.get(f"weir_{name}")
    if value is not None:
        where = f"metadata.weir_{name}"
        if not isinstance(value, str):
            raise bad_request(f"`{where}` must be a text.", where, "invalid_type")
        return _checked(value, f"`{where}`", where)
    value = metadata.get(name)
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _checked(value: str, where: str, param: str) -> str:
    if not _NAME.fullmatch(value):
        raise bad_request(
            f"The {where} must be 1 to 128 letters, digits, spaces or any of . _ : @ + / - and "
            "begin with a letter or digit.",
            param,
        )
    return value
