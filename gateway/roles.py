"""Which part of a gateway a process plays, and what that part has to do.

all         everything in one process; the default
gateway     answers requests and keeps nothing; its ledger is in Redis
collector   the one beside the gateways: warehouse, admin API, dashboard, alerts, expired holds
parent      a collector that starts `worker` processes and lends them its local models
worker      a gateway on the port of its parent; ends with it
"""

from dataclasses import dataclass
from enum import Enum

from gateway.config import Settings


class RoleError(RuntimeError):
    """A role that these settings do not allow; the message names the key and the fix."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What a process does beside being there. `models`: it runs local models of its own."""

    name: str
    answers: bool
    collects: bool
    models: bool
    shared: bool


class ServeRole(Enum):
    """The parts; each value says what belongs to it."""

    ALL = Duties("all", answers=True, collects=True, models=True, shared=False)
    GATEWAY = Duties("gateway", answers=True, collects=False, models=True, shared=True)
    COLLECTOR = Duties("collector", answers=False, collects=True, models=False, shared=True)
    PARENT = Duties("parent", answers=False, collects=True, models=True, shared=True)
    WORKER = Duties("worker", answers=True, collects=False, models=False, shared=True)

    @property
    def duties(self) -> Duties:
        return self.value


CHOICES = ("all", "gateway", "collector")


def role_named(name: str, workers: int) -> ServeRole:
    """The role of `weir serve --role NAME --workers N`; raise RoleError where they exclude."""
    if workers < 1:
        raise RoleError(f"--workers: expected 1 or more, got {workers}")
    if workers == 1:
        return next(role for role in ServeRole if role.duties.name == name)
    if name != "all":
        raise RoleError(
            f"--workers {workers} goes with --role all; for more processes in the role {name!r} "
            "start more of them"
        )
    return ServeRole.PARENT


def check_role(role: ServeRole, settings: Settings) -> None:
    """Raise RoleError where several processes would share a ledger that one process owns."""
    if role.duties.shared and settings.ledger.store != "redis":
        alone = "leave out --workers" if role is ServeRole.PARENT else "leave out --role"
        raise RoleError(
            f'{settings.path}: ledger.store: "{settings.ledger.store}" keeps the ledger in one '
            'process; write store = "redis" under [ledger] and set '
            f"{settings.ledger.redis_url_env}, or {alone}"
        )
