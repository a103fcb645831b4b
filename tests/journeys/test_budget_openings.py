"""A budget that is written into the configuration in the middle of its window."""

from pathlib import Path

from tests.journeys.gateway_process import SCRIPTED_CONFIG, assert_clean, budget, gateway


def test_a_budget_added_in_mid_month_counts_what_the_month_has_cost_so_far(tmp_path: Path) -> None:
    with gateway(tmp_path, SCRIPTED_CONFIG) as weir:
        rows = [weir.request(weir.chat("Hello", max_tokens=5).request_id) for _ in range(3)]
        spent_nano = sum(row["cost_nano"] for row in rows)
        assert spent_nano > 0
        for scope, limit_usd in (("key:demo", "5"), ("workflow:*", "5"), ("org", "0.000000001")):
            assert weir.stop() == 0
            weir.config.write_text(SCRIPTED_CONFIG + budget(scope, limit_usd, "month"))
            for _ in range(2):
                weir.start()
                [account] = weir.admin("budgets")["budgets"]
                assert (account["posted_nano"], account["held_nano"]) == (spent_nano, 0)
                assert_clean(weir)
                assert weir.stop() == 0
            weir.start()
        refused = weir.chat("Hello", max_tokens=5)
        assert (refused.status, refused.error["scope"]) == (402, "org:default")
