"""Run tokens: who holds one may spend what the run has, as the key that opened it, until it ends.

A token says everything itself: the key, the run and its limits, the runs above it, and its end. It
is signed with a key derived from the installation's secret, so every gateway with that secret can
tell a real one and nobody else can make or change one.

    weir-run-PAYLOAD.SIGNATURE        base64url; the payload is JSON, the signature HMAC-SHA-256
"""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from budgets.runs import MAX_DEPTH, RunTerms

PREFIX = b"weir-run-"
MAX_TOKEN_BYTES = 8_192


class InvalidRunTokenError(ValueError):
    """A text that is no token of this installation."""


@dataclass(frozen=True, slots=True)
class RunGrant:
    """What a token stands for: a run of a key, what it may spend, and until when.

    `chain` is the run and those above it, the nearest first. `workflow` and `tags` are fixed where
    they were named when the run was opened.
    """

    key_id: str
    expires_s: int
    chain: tuple[RunTerms, ...]
    workflow: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The run's id inside its team."""
        return self.chain[0].run_id

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the runs above it, the nearest first."""
        return tuple([terms.run_id for terms in self.chain[1:]])


def sign(key: bytes, grant: RunGrant) -> str:
    """The token of a grant."""
    payload = urlsafe_b64encode(orjson.dumps(_to_json(grant))).rstrip(b"=")
    signature = urlsafe_b64encode(hmac.digest(key, payload, "sha256")).rstrip(b"=")
    return (PREFIX + payload + b"." + signature).decode()


def read(key: bytes, token: bytes) -> RunGrant:
    """The grant of a token, whether it has expired or not.

    Raise InvalidRunTokenError for what this key has not signed; the comparison takes the same time
    wherever a signature differs.
    """
    payload, dot, signature = token.removeprefix(PREFIX).partition(b".")
    if not dot or len(token) > MAX_TOKEN_BYTES or not token.startswith(PREFIX):
        raise InvalidRunTokenError
    expected = urlsafe_b64encode(hmac.digest(key, payload, "sha256")).rstrip(b"=")
    if not hmac.compare_digest(expected, signature):
        raise InvalidRunTokenError
    return _read_payload(payload)


@lru_cache(maxsize=4_096)
def _read_payload(payload: bytes) -> RunGrant:
    """A payload whose signature is right, so it is one that `sign` wrote, of whatever version."""
    try:
        found = orjson.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        chain = tuple([RunTerms(*terms) for terms in found["runs"]])
        grant = RunGrant(found["key"], found["until"], chain, found["workflow"], found["tags"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise InvalidRunTokenError from error
    if not 1 <= len(chain) <= MAX_DEPTH:
        raise InvalidRunTokenError
    return grant


def _to_json(grant: RunGrant) -> dict[str, Any]:
    return {
        "key": grant.key_id,
        "until": grant.expires_s,
        "runs": [
            (terms.run_id, *terms.limits().values(), terms.landing_permille)
            for terms in grant.chain
        ],
        "workflow": grant.workflow,
        "tags": grant.tags,
    }
