"""What a real model makes of odd prompts never costs more than was set aside for them."""

from pathlib import Path

import pytest

from tests.journeys.gateway_process import assert_clean, budget, gateway
from tests.journeys.test_startup import LOCAL_CONFIG


@pytest.mark.parametrize(
    "prompt",
    [
        "\n" * 1_000,
        "1234567890" * 100,
        "\u0e27\u0e31\u0e19\u0e19\u0e35\u0e49\u0e2d\u0e32\u0e01\u0e32\u0e28 " * 40,
        "\uc548\ub155\ud558\uc138\uc694 " * 60,
        "\U0001f9d1\u200d\U0001f680" * 60,
        "a plain English sentence that is as it is. " * 20,
    ],
    ids=["line breaks", "digits", "Thai", "Korean", "emoji", "English"],
)
def test_a_budget_that_bears_just_this_request_is_not_overspent(
    tmp_path: Path, prompt: str
) -> None:
    with gateway(tmp_path / "ask", LOCAL_CONFIG + budget("key:*", "0.000000001")) as weir:
        refusal = weir.chat(prompt, max_tokens=1)
        assert refusal.status == 402
        needed = refusal.error["needed_usd"]
    with gateway(tmp_path / "buy", LOCAL_CONFIG + budget("key:*", needed)) as weir:
        answer = weir.chat(prompt, max_tokens=1)
        assert answer.status == 200
        row = weir.request(answer.request_id)
        assert row["usage_source"] == "provider"
        assert 0 < row["cost_nano"] <= row["reserved_nano"]
        assert row["overrun_nano"] == 0
        assert_clean(weir)
