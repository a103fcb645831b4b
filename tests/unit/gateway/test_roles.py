"""Which role the options of a command mean, and which configuration a role takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.roles import CHOICES, RoleError, ServeRole, check_role, role_named
from tests.unit.gateway.gateways import settings_in


def test_each_choice_is_a_role_of_that_name_and_workers_make_a_parent() -> None:
    assert [role_named(name, 1).duties.name for name in CHOICES] == list(CHOICES)
    assert role_named("all", 1) is ServeRole.ALL
    assert role_named("all", 2) is ServeRole.PARENT


@pytest.mark.parametrize(
    ("name", "workers", "message"),
    [("all", 0, "--workers: expected 1 or more"), ("gateway", 2, "goes with --role all")],
)
def test_options_that_exclude_each_other_are_refused(name: str, workers: int, message: str) -> None:
    with pytest.raises(RoleError, match=message):
        role_named(name, workers)


@pytest.mark.parametrize("role", ServeRole)
def test_only_one_process_may_keep_its_ledger_in_a_file(tmp_path: Path, role: ServeRole) -> None:
    settings = settings_in(tmp_path)
    in_redis = settings.ledger.model_copy(update={"store": "redis"})
    check_role(role, replace(settings, ledger=in_redis))
    if role is ServeRole.ALL:
        check_role(role, settings)
        return
    with pytest.raises(
        RoleError, match=r'config\.toml: ledger\.store: "sqlite" .* store = "redis"'
    ):
        check_role(role, settings)


def test_every_process_answers_or_collects() -> None:
    assert all(role.duties.answers or role.duties.collects for role in ServeRole)
