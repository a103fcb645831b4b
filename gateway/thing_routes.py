"""The routes of what is opened, kept and asked for by its id, put together for one process."""

from budgets.port import LedgerStore
from gateway.batch_work import BatchWork
from gateway.clock import now_ms
from gateway.config import Settings
from gateway.key_registry import KeyRegistry
from gateway.known_ids import KnownIds
from gateway.registry_choice import Stores
from gateway.roles import ServeRole
from gateway.routes.data_plane import Things
from gateway.routes.runs import RunRoutes, RunServices


def things_of(
    settings: Settings,
    role: ServeRole,
    registry: KeyRegistry,
    stores: Stores,
    ledger: LedgerStore,
    ids: KnownIds,
    kept: BatchWork,
) -> Things:
    """Opens runs with budgets of their own, in a process that answers their requests."""
    services = RunServices(
        authenticate=registry.authenticate,
        denial=registry.denial,
        token_of=registry.run_token,
        runs=stores.runs,
        ledger=ledger,
        budgets=settings.budgets,
        ids=ids,
        now_ms=now_ms,
        opens=role.duties.answers,
    )
    return Things(RunRoutes(services), kept.files, kept.batches)
