"""The `[telemetry]` section: what it takes, and that the manual names all of it."""

import pytest
from pydantic import ValidationError

from telemetry.config import TelemetrySection


def test_without_a_word_the_defaults_apply() -> None:
    section = TelemetrySection()
    assert (section.batch_rows, section.batch_ms) == (1_000, 300)
    assert (section.memory_limit_mb, section.threads) == (128, 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_rows", 0),
        ("batch_rows", 10_001),
        ("batch_ms", 1),
        ("memory_limit_mb", 63),
        ("threads", 0),
        ("stop_flush_s", 0),
        ("batch_row", 100),
    ],
)
def test_a_value_out_of_range_or_an_unknown_key_is_named(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        TelemetrySection.model_validate({key: value})
