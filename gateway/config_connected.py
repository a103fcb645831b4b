"""What is left of models, tiers and policies without the optional providers that have no key."""

from collections.abc import Collection, Mapping

from gateway.config_reading import FaultList
from routing.config import ModelSection, PolicySection, TierSection

# Optional providers that are left out, and the variable that would bring each in.
Off = Mapping[str, str]


def connected_models(models: Mapping[str, ModelSection], off: Off) -> dict[str, ModelSection]:
    """The models that keep a deployment, without those whose provider is left out."""
    connected: dict[str, ModelSection] = {}
    for name, model in models.items():
        places = model.places()
        left = tuple(place for place in places if place.provider not in off)
        if len(left) == len(places):
            connected[name] = model
        elif left:
            first = {"provider": left[0].provider, "upstream_model": left[0].upstream_model}
            connected[name] = model.model_copy(update={"deployments": left, **first})
    return connected


def connected_tiers(
    tiers: Mapping[str, TierSection],
    models: Mapping[str, ModelSection],
    connected: Collection[str],
    off: Off,
    faults: FaultList,
) -> dict[str, TierSection]:
    """The tiers without models that are left out; each must keep one.

    A model that is not among `models` has faults of its own, noted already, and stays.
    """
    kept: dict[str, TierSection] = {}
    for name, tier in tiers.items():
        left = tuple(m for m in tier.models if m not in models or m in connected)
        if not left:
            places = (place for model in tier.models for place in models[model].places())
            variables = sorted({off[place.provider] for place in places})
            faults.add(
                ("tiers", name, "models"),
                f"none of its models is connected; set {' or '.join(variables)}, or add a model "
                "whose provider needs no key",
            )
        kept[name] = tier.model_copy(update={"models": left})
    return kept


def connected_policies(
    policies: Mapping[str, PolicySection], connected: Collection[str]
) -> dict[str, PolicySection]:
    """The policies without a last resort that is left out."""
    return {
        name: policy
        if policy.last_resort is None or policy.last_resort in connected
        else policy.model_copy(update={"last_resort": None})
        for name, policy in policies.items()
    }
