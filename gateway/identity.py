"""Which workflow, run, user and tags a request belongs to.

The key decides the team; what a client sends only refines inside it, so nobody can charge another
team's workflow. What is read, and in which order, is the table of gateway/identity_sources.py. A
request that names no run belongs to that of the conversation it goes on with, and where it begins
one it is a run of its own. One that names no user belongs to the user `unnamed`, and one without a
tag that budgets ask for has it as `unset`. Leaving something out never means no budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from budgets.runs import run_charges
from budgets.scopes import Charge, ScopeKind, Scopes
from budgets.value import value
from gateway.auth import Principal
from gateway.errors import bad_request
from gateway.foreign_tags import foreign_tags
from gateway.identity_sources import (
    NAME,
    PARENT_SOURCES,
    RUN_SOURCES,
    TEAM_SOURCES,
    USER_SOURCES,
    WORKFLOW_SOURCES,
    Found,
    Place,
    Sent,
    Strength,
    Table,
)
from gateway.known_ids import OVERFLOW, KnownIds
from gateway.landings import wants_landing
from gateway.run_errors import run_fixed, team_fixed
from gateway.run_grants import RunGrant
from gateway.run_inference import RunInference
from gateway.tags import MAX_TAGS, read_tags

WORKFLOW_HEADER = "x-weir-workflow"
RUN_HEADER = "x-weir-run"
TAGS_HEADER = b"x-weir-tags"
OWN_RUN = "request"
GRANTED_RUN = "token"
INFERRED_RUN = "inferred"
PREVIOUS_RESPONSE = "previous_response_id"
UNNAMED = "unnamed"
UNSET = "unset"
NO_TAGS: Mapping[str, str] = {}
RETRIES = b"x-stainless-retry-count"


@value
class Identity:
    """The parties of a request; `run_source` says where the run's name came from.

    `workflow`, `run`, `user` and `tags` are what it is charged to, without the team. `overflow`
    names the kinds of which the team has brought too many new ids. `granted` are the charges of a
    run that was opened with a budget of its own, and of the runs above it; `lands` where it is the
    last request of its run. `attribution` says for each party that somebody named, or that was
    inferred, which source did, and how strong that is.
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
    attribution: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def parent_runs(self) -> tuple[str, ...]:
        """The runs that opened this one, the nearest first, without the team."""
        begin = len(self.scopes.team) + 1
        return tuple([run[begin:] for run in self.scopes.parents])

    @property
    def shared_scopes(self) -> Scopes:
        """The scopes that other requests may share: a run of its own is left out."""
        return self.scopes.without_run() if self.run_source == OWN_RUN else self.scopes


@value
class Asked:
    """What of a request says, or shows, which run it belongs to.

    `said` are the messages of its conversation, empty where it is none.
    """

    request_id: str
    headers: Mapping[bytes, bytes]
    body: Mapping[str, Any]
    said: Sequence[Any] = ()

    @property
    def own_run(self) -> str:
        """The run that has only this request in it."""
        return f"run-{self.request_id.removeprefix('req_')}"


class _Naming:
    """Places the names that a client chose under its team, and notes those that were too many."""

    __slots__ = ("attribution", "ids", "overflow", "sent", "team")

    def __init__(self, ids: KnownIds, team: str, asked: Asked) -> None:
        self.ids = ids
        self.team = team
        self.sent = Sent(asked.headers, asked.body)
        self.overflow: list[str] = []
        self.attribution: dict[str, Mapping[str, str]] = {}

    def place(self, kind: ScopeKind, name: str) -> str:
        """The name it is charged to, which is a shared one where the team has brought too many."""
        scope_id = self.ids.scope_id(kind, self.team, name)
        if scope_id.endswith(OVERFLOW) and kind.value not in self.overflow:
            self.overflow.append(kind.value)
        return scope_id[len(self.team) + 1 :]

    def first(self, table: Table) -> Found | None:
        """The first name that is there; raise ApiError (400) for one of ours that is none."""
        found = self.sent.first(table)
        if found is not None and found.source.strength is Strength.OWN:
            _check(found)
        return found

    def credit(self, party: str, source: str, strength: Strength) -> None:
        """Write down who said it."""
        self.attribution[party] = {"source": source, "strength": strength.value}


def identify(
    principal: Principal, asked: Asked, ids: KnownIds, inference: RunInference | None = None
) -> Identity:
    """Resolve workflow, run, user and tags; raise ApiError (400, 403) for what cannot be one."""
    team = principal.team
    naming = _Naming(ids, team, asked)
    grant = principal.run
    _refuse_other_teams(naming)
    workflow = _workflow(principal, naming)
    parents: tuple[str, ...] = ()
    if grant is None:
        run, source = _run(principal, asked, naming, inference)
        if source != OWN_RUN:
            parents = _parents(naming, run)
    else:
        run, source = _granted_run(grant, naming), GRANTED_RUN
        parents = grant.parents
    user = _user(naming)
    tags = _tags(naming, ids.unset_tags(team), grant)
    scopes = Scopes(
        org=principal.org,
        team=team,
        key=principal.key_id,
        workflow=f"{team}/{workflow}",
        run=f"{team}/{run}",
        parents=tuple([f"{team}/{one}" for one in parents]),
        user=f"{team}/{user}",
        tags=tuple([f"{team}/{name}={value}" for name, value in tags.items()]),
    )
    return Identity(
        scopes,
        workflow,
        run,
        source,
        user,
        tags,
        tuple(naming.overflow),
        () if grant is None else run_charges(team, grant.chain),
        wants_landing(asked.headers),
        naming.attribution,
    )


def _refuse_other_teams(naming: _Naming) -> None:
    """The key decides the team; a client may say which one it is, and is wrong or right."""
    found = naming.first(TEAM_SOURCES)
    if found is not None and found.name != naming.team:
        raise team_fixed(naming.team, found.source.name)


def _workflow(principal: Principal, naming: _Naming) -> str:
    """The workflow that a client names, or the key's own; a run may be fixed to one."""
    found = naming.first(WORKFLOW_SOURCES)
    if found is None or found.name == principal.workflow:
        return principal.workflow
    if principal.run is not None and principal.run.workflow is not None:
        if not _is_meant(found):
            return principal.workflow
        raise run_fixed("workflow", principal.workflow, WORKFLOW_HEADER)
    naming.credit("workflow", found.source.name, found.source.strength)
    return naming.place(ScopeKind.WORKFLOW, found.name)


def _is_meant(found: Found) -> bool:
    """Whether a name is meant for this gateway, as far as can be told."""
    return found.source.strength is Strength.OWN or found.source.name == "metadata.workflow"


def _run(
    principal: Principal, asked: Asked, naming: _Naming, inference: RunInference | None
) -> tuple[str, str]:
    """The run of a request, and who named it; without a name it is that of its conversation."""
    found = naming.first(RUN_SOURCES)
    if found is not None and found.source.name == PREVIOUS_RESPONSE:
        known = inference and inference.run_of_response(naming.team, found.name)
        if known:
            return _unless_too_many(known, found.source.name, found.source.strength, asked, naming)
        return asked.own_run, OWN_RUN
    named, source, strength = None, INFERRED_RUN, Strength.INFERRED
    if found is not None:
        named, source, strength = found.name, found.source.name, found.source.strength
        if not found.source.yields:
            naming.credit("run", source, strength)
            return naming.place(ScopeKind.RUN, named), source
    followed = None
    if inference is not None and asked.said:
        retried = asked.headers.get(RETRIES, b"0") != b"0"
        own_run = named or asked.own_run
        followed = inference.follow(principal.key_id, asked.said, own_run, retried=retried)
    if followed is not None and followed != named:
        named, source, strength = followed, INFERRED_RUN, Strength.INFERRED
    if named is None:
        return asked.own_run, OWN_RUN
    return _unless_too_many(named, source, strength, asked, naming)


def _unless_too_many(
    run: str, source: str, strength: Strength, asked: Asked, naming: _Naming
) -> tuple[str, str]:
    """A run that nobody named outright; beyond the hour's, a request is a run of its own."""
    if not naming.ids.may_infer(ScopeKind.RUN, naming.team, run):
        return asked.own_run, OWN_RUN
    naming.credit("run", source, strength)
    return run, source


def _parents(naming: _Naming, run: str) -> tuple[str, ...]:
    """The run that a client says has opened this one."""
    found = naming.first(PARENT_SOURCES)
    if found is None or found.name == run:
        return ()
    parent = naming.place(ScopeKind.RUN, found.name)
    if parent == run:
        return ()
    naming.credit("parent_run", found.source.name, found.source.strength)
    return (parent,)


def _granted_run(grant: RunGrant, naming: _Naming) -> str:
    """The run of a token, which names no other one."""
    metadata = naming.sent.body.get("metadata")
    header = naming.sent.headers.get(RUN_HEADER.encode())
    named = metadata.get("weir_run") if isinstance(metadata, dict) else None
    if header is not None and header != grant.run_id.encode():
        raise run_fixed("run", grant.run_id, f"header {RUN_HEADER}")
    if named is not None and named != grant.run_id:
        raise run_fixed("run", grant.run_id, "metadata.weir_run")
    return grant.run_id


def _user(naming: _Naming) -> str:
    """The end user that a client names."""
    found = naming.first(USER_SOURCES)
    if found is None:
        return UNNAMED
    naming.credit("user", found.source.name, found.source.strength)
    return naming.place(ScopeKind.USER, found.name)


def _tags(naming: _Naming, unset: tuple[str, ...], grant: RunGrant | None) -> Mapping[str, str]:
    """What the request is tagged with, sorted by name; `unset` are tags that every request has."""
    sent = naming.sent
    metadata = sent.body.get("metadata")
    header = sent.headers.get(TAGS_HEADER)
    given = metadata.get("weir_tags") if isinstance(metadata, dict) else None
    fixed = NO_TAGS if grant is None else grant.tags
    own = read_tags(header, given) if header is not None or given is not None else NO_TAGS
    tags = {**dict.fromkeys(unset, UNSET), **fixed}
    for name, worth in own.items():
        if name not in fixed:
            placed, _, charged = naming.place(ScopeKind.TAG, f"{name}={worth}").partition("=")
            tags[placed] = charged
        elif worth != fixed[name]:
            raise run_fixed(f"tag {name}", fixed[name], "x-weir-tags")
    if sent.headers or sent.properties or metadata:
        _add_foreign(naming, tags, {*own, *fixed}, unset)
    return dict(sorted(tags.items())) if len(tags) > 1 else tags


def _add_foreign(
    naming: _Naming, tags: dict[str, str], taken: set[str], unset: tuple[str, ...]
) -> None:
    """The tags that were meant for others, as far as there is room; none is refused."""
    for name, worth, source in foreign_tags(naming.sent):
        if name in taken or len(taken) >= MAX_TAGS:
            continue
        if name in unset:
            placed, _, charged = naming.place(ScopeKind.TAG, f"{name}={worth}").partition("=")
            tags[placed] = charged
        elif naming.ids.may_infer(ScopeKind.TAG, naming.team, f"{name}={worth}"):
            tags[name] = worth
        else:
            continue
        taken.add(name)
        naming.credit(f"tag {name}", source, Strength.STRONG)


def _check(found: Found) -> None:
    """Raise ApiError (400) where a name that is meant for Weir is none."""
    name = found.source.name
    in_body = found.source.place is Place.BODY
    where = f"`{name}`" if in_body else f"header {name}"
    if not isinstance(found.name, str):
        raise bad_request(f"{where} must be a text.", name, "invalid_type")
    if not NAME.fullmatch(found.name):
        raise bad_request(
            f"The {where} must be 1 to 128 letters, digits, spaces or any of . _ : @ + / - and "
            "begin with a letter or digit.",
            name,
        )
