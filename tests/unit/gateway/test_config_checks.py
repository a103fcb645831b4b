"""References between sections, checked on the sections themselves."""

from gateway.config_checks import standing_aliases
from routing.config import ModelSection


def model(*aliases: str, stand_in: bool = False) -> ModelSection:
    return ModelSection(
        provider="here",
        context_tokens=10,
        max_output_tokens=10,
        aliases=aliases,
        stand_in=stand_in,
    )


def test_a_stand_in_gives_up_names_that_connected_models_have() -> None:
    models = {
        "stand-in": model("gpt-5", "gpt-4o", "free-name", stand_in=True),
        "gpt-5": model("gpt-4o"),
    }
    assert list(standing_aliases(models)) == [("stand-in", "free-name", 2), ("gpt-5", "gpt-4o", 0)]


def test_a_stand_in_alone_keeps_its_names() -> None:
    models = {"stand-in": model("gpt-5", stand_in=True), "other": model("x")}
    assert list(standing_aliases(models)) == [("stand-in", "gpt-5", 0), ("other", "x", 0)]


def test_two_connected_models_keep_a_shared_name_so_that_it_is_noticed() -> None:
    models = {"one": model("same"), "two": model("same")}
    assert list(standing_aliases(models)) == [("one", "same", 0), ("two", "same", 0)]
