"""Which workflow, run, user and tags a request belongs to.

The key decides the team; what a client sends only refines inside it, so nobody can charge another
team's workflow. In order: `x-weir-*` headers, the body, the key's own defaults. A request that
names no run is a run of its own; one that names no user belongs to the user `unnamed`, and one
without a tag that budgets ask for has it as `unset`. Leaving something out never means no budget.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from budgets.runs import run_charges
from budgets.scopes import Charge, ScopeKind, Scopes
from budgets.value import value
from gateway.auth import Principal
from gateway.errors import bad_request
from gateway.known_ids import OVERFLOW, KnownIds
from gateway.landings import wants_landing
from gateway.run_errors import run_fixed
from gateway.run_grants import RunGrant
from gateway.tags import read_tags

WORKFLOW_HEADER = "x-weir-workflow"
RUN_HEADER = "x-weir-run"
USER_HEADER = "x-weir-user"
TAGS_HEADER = b"x-weir-tags"
OWN_RUN = "request"
GRANTED_RUN = "token"
UNNAMED = "unnamed"
UNSET = "unset"
NO_TAGS: Mapping[str, str] = {}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/ -]{0,127}")
_BODY_USERS = ("safety_identifier", "user")


@value
class Identity:
    """The parties of a request; `run_source` says where the run's name came from.

    `workflow`, `run`, `user` and `tags` are what it is charged to, without the team. `overflow`
    names the kinds of which the team has brought too many new ids. `granted` are the charges of a
    run that was opened with a budget of its own, and of the runs above it; `lands` where it is the
    last request of its run.
    """

    scopes: Scopes
    workflow: str
    run: str
    run_source: str
    user: str
    tags: Mapping[str, str]
    overflow: tuple[str, ...] = ()
    granted: tuple[Charge, ...] = ()
    lands: bool = False

    @property
    def parent_runs(self) -> tuple[str, ...]:
        """The runs that opened this one, the nearest first, without the team."""
        begin = len(self.scopes.team) + 1
        return tuple([run[begin:] for run in self.scopes.parents])

    @property
    def shared_scopes(self) -> Scopes:
        """The scopes that other requests may share: a run of its own is left out."""
        return self.scopes.without_run() if self.run_source == OWN_RUN else self.scopes


class _Naming:
    """Places the names that a client chose under its team, and notes those that were too many."""

    __slots__ = ("_ids", "_team", "overflow")

    def __init__(self, ids: KnownIds, team: str) -> None:
        self._ids = ids
        self._team = team
        self.overflow: list[str] = []

    def place(self, kind: ScopeKind, name: str) -> str:
        """The name it is charged to, which is a shared one where the team has brought too many."""
        scope_id = self._ids.scope_id(kind, self._team, name)
        if scope_id.endswith(OVERFLOW) and kind.value not in self.overflow:
            self.overflow.append(kind.value)
        return scope_id[len(self._team) + 1 :]


def identify(
    principal: Principal,
    headers: Mapping[bytes, bytes],
    body: Mapping[str, Any],
    request_id: str,
    ids: KnownIds,
) -> Identity:
    """Resolve workflow, run, user and tags; raise ApiError (400) for a name that cannot be one."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    team = principal.team
    naming = _Naming(ids, team)
    grant = principal.run
    workflow = _workflow(principal, headers, metadata, naming)
    if grant is None:
        run, source = _run(headers, metadata, naming, request_id)
    else:
        run, source = _granted_run(grant, headers, metadata), GRANTED_RUN
    user = _user(headers, body, metadata)
    user = UNNAMED if user is None else naming.place(ScopeKind.USER, user)
    tags = _tags(headers, metadata, naming, ids.unset_tags(team), grant)
    scopes = Scopes(
        org=principal.org,
        team=team,
        key=principal.key_id,
        workflow=f"{team}/{workflow}",
        run=f"{team}/{run}",
        parents=() if grant is None else tuple([f"{team}/{one}" for one in grant.parents]),
        user=f"{team}/{user}",
        tags=tuple([f"{team}/{name}={value}" for name, value in tags.items()]),
    )
    granted = () if grant is None else run_charges(team, grant.chain)
    overflow, lands = tuple(naming.overflow), wants_landing(headers)
    return Identity(scopes, workflow, run, source, user, tags, overflow, granted, lands)


def _workflow(
    principal: Principal,
    headers: Mapping[bytes, bytes],
    metadata: Mapping[str, Any],
    naming: _Naming,
) -> str:
    """The workflow that a client names, or the key's own; a run may be fixed to one."""
    named = _from_header(headers, WORKFLOW_HEADER) or _from_metadata(metadata, "workflow")
    if named is None or named == principal.workflow:
        return principal.workflow
    if principal.run is not None and principal.run.workflow is not None:
        raise run_fixed("workflow", principal.workflow, WORKFLOW_HEADER)
    return naming.place(ScopeKind.WORKFLOW, named)


def _run(
    headers: Mapping[bytes, bytes], metadata: Mapping[str, Any], naming: _Naming, request_id: str
) -> tuple[str, str]:
    """The run of a request, and where it was named; without a name it is one of its own."""
    run, source = _from_header(headers, RUN_HEADER), "header"
    if run is None:
        run, source = _from_metadata(metadata, "run"), "metadata"
    if run is None:
        return f"run-{request_id.removeprefix('req_')}", OWN_RUN
    return naming.place(ScopeKind.RUN, run), source


def _granted_run(
    grant: RunGrant, headers: Mapping[bytes, bytes], metadata: Mapping[str, Any]
) -> str:
    """The run of a token, which names no other one."""
    header, named = headers.get(RUN_HEADER.encode()), metadata.get("weir_run")
    if header is not None and header != grant.run_id.encode():
        raise run_fixed("run", grant.run_id, f"header {RUN_HEADER}")
    if named is not None and named != grant.run_id:
        raise run_fixed("run", grant.run_id, "metadata.weir_run")
    return grant.run_id


def _user(
    headers: Mapping[bytes, bytes], body: Mapping[str, Any], metadata: Mapping[str, Any]
) -> str | None:
    """The end user that a client names.

    The fields of the body are not ours, so what they hold need not be a name: any other text is
    known by its digest.
    """
    named = _from_header(headers, USER_HEADER)
    if named is not None:
        return named
    for found in (*[body.get(field) for field in _BODY_USERS], metadata.get("user_id")):
        if isinstance(found, str) and found:
            if _NAME.fullmatch(found):
                return found
            digest = hashlib.sha256(found.encode("utf-8", "replace")).hexdigest()
            return f"sha256:{digest[:32]}"
    return None


def _tags(
    headers: Mapping[bytes, bytes],
    metadata: Mapping[str, Any],
    naming: _Naming,
    unset: tuple[str, ...],
    grant: RunGrant | None,
) -> Mapping[str, str]:
    """What the request is tagged with, sorted by name; `unset` are tags that every request has."""
    header, given = headers.get(TAGS_HEADER), metadata.get("weir_tags")
    fixed = NO_TAGS if grant is None else grant.tags
    if header is None and given is None and not unset:
        return fixed
    tags = {**dict.fromkeys(unset, UNSET), **fixed}
    for name, worth in read_tags(header, given).items():
        if name not in fixed:
            placed, _, charged = naming.place(ScopeKind.TAG, f"{name}={worth}").partition("=")
            tags[placed] = charged
        elif worth != fixed[name]:
            raise run_fixed(f"tag {name}", fixed[name], "x-weir-tags")
    return dict(sorted(tags.items()))


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
