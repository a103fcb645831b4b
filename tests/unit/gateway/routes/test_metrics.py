"""Who may scrape, with `gateway.routes.metrics` in front of a real gateway."""

from pathlib import Path

import pytest

from tests.unit.gateway.desks import run
from tests.unit.gateway.gateways import CONFIG, SECRET, opened, settings_in

KEYS = ("none", SECRET.demo_key, SECRET.admin_key)


@pytest.mark.parametrize(
    ("access", "statuses"), [("key", [401, 403, 200]), ("open", [200] * 3), ("off", [404] * 3)]
)
def test_a_scrape_takes_an_admin_key_unless_metrics_are_open_or_off(
    tmp_path: Path, access: str, statuses: list[int]
) -> None:
    config = f'[server]\nmetrics = "{access}"\n{CONFIG}'

    async def scrape() -> None:
        async with opened(settings_in(tmp_path, config)) as weir:
            answers = [await weir.ask("GET", "/metrics", key=key) for key in KEYS]
            assert [answer.status for answer in answers] == statuses
            if access == "key":
                codes = [answer.error["code"] for answer in answers[:2]]
                assert codes == ["invalid_api_key", "admin_key_required"]
                assert answers[0].header(b"www-authenticate") is not None
            told = [answer.text for answer in answers if answer.status == 200]
            assert all(b"weir_ledger_up 1.0" in text for text in told)

    run(scrape())
