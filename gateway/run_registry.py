"""A run that was opened over the API, and how it is written down.

A run token says everything that spending needs, so nothing of this is read while requests are
served. What is kept is what the key that opened a run may ask for without the token.
"""

import json
from dataclasses import dataclass

from budgets.runs import RunTerms
from gateway.run_grants import RunGrant

KEPT_S = 30 * 86_400
"""So long a run is kept after its end."""


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run as it was opened; times in seconds since 1970 (UTC)."""

    team: str
    name: str
    grant: RunGrant
    created_s: int

    @property
    def kept_until_s(self) -> int:
        return self.grant.expires_s + KEPT_S


def to_text(run: OpenedRun) -> str:
    """A run as a JSON text."""
    grant = run.grant
    return json.dumps(
        {
            "team": run.team,
            "name": run.name,
            "created_s": run.created_s,
            "key_id": grant.key_id,
            "expires_s": grant.expires_s,
            "runs": [
                (one.run_id, *one.limits().values(), one.landing_permille) for one in grant.chain
            ],
            "workflow": grant.workflow,
            "tags": dict(grant.tags),
        }
    )


def from_text(text: str) -> OpenedRun:
    """The run of a text; raise ValueError for what `to_text` has not written."""
    try:
        found = json.loads(text)
        chain = tuple([RunTerms(*terms) for terms in found["runs"]])
        grant = RunGrant(
            found["key_id"], found["expires_s"], chain, found["workflow"], found["tags"]
        )
        return OpenedRun(found["team"], found["name"], grant, found["created_s"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an opened run: {error!r}") from error
