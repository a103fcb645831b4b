"""Every name a client may send as `model`, in the list shapes of OpenAI and of Anthropic."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from gateway.errors import bad_request, model_not_found
from routing.catalog import Catalog, ModelCard, ModelWish, TierWish

PATH = "/v1/models"
PAGE, LARGEST_PAGE = 20, 1_000
# When a model came out is not known here; the shape asks for a time.
UNKNOWN_TIME = "1970-01-01T00:00:00Z"


class ModelList:
    """What `/v1/models` and `/v1/models/{id}` say of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._owners: Mapping[str, str] = dict(catalog.names())

    def openai(self) -> dict[str, Any]:
        """Every name in OpenAI's list shape."""
        return {"object": "list", "data": [self.openai_model(name) for name in self._owners]}

    def openai_model(self, name: str) -> dict[str, Any]:
        """One model as OpenAI describes it; raise ApiError (404)."""
        owner = self._owner(name)
        return {"id": name, "object": "model", "created": 0, "owned_by": owner}

    def anthropic(self, query: bytes) -> dict[str, Any]:
        """A page of names in Anthropic's list shape; raise ApiError (400) for a bad page."""
        names = list(self._owners)
        asked = parse_qs(query.decode("latin-1"))
        limit = _limit(asked.get("limit"))
        if "before_id" in asked:
            end = _place(names, asked["before_id"][0], "before_id")
            start = max(0, end - limit)
            more = start > 0
        else:
            start = 0
            if "after_id" in asked:
                start = _place(names, asked["after_id"][0], "after_id") + 1
            end = min(len(names), start + limit)
            more = end < len(names)
        page = names[start:end]
        return {
            "data": [self.anthropic_model(name) for name in page],
            "has_more": more,
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }

    def anthropic_model(self, name: str) -> dict[str, Any]:
        """One model as Anthropic describes it; raise ApiError (404).

        A policy or a tier has the smallest limits of the models that it may choose from.
        """
        self._owner(name)
        cards = self._cards(name)
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": UNKNOWN_TIME,
            "max_input_tokens": min((card.context_tokens for card in cards), default=None),
            "max_tokens": min((card.max_output_tokens for card in cards), default=None),
            "capabilities": None,
        }

    def _cards(self, name: str) -> Sequence[ModelCard]:
        models = self._catalog.models
        match self._catalog.resolve(name):
            case ModelWish(model):
                return [models[model]]
            case TierWish(tier):
                return [models[model] for model in self._catalog.tiers_by_name[tier].models]
            case _:
                return [models[model] for tier in self._catalog.tiers for model in tier.models]

    def _owner(self, name: str) -> str:
        owner = self._owners.get(name)
        if owner is None:
            raise model_not_found(name)
        return owner


def _limit(asked: list[str] | None) -> int:
    if asked is None:
        return PAGE
    text = asked[0]
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_PAGE):
        raise bad_request(f"`limit` must be a number from 1 to {LARGEST_PAGE}.", "limit")
    return int(text)


def _place(names: list[str], name: str, param: str) -> int:
    if name not in names:
        raise bad_request(f"`{param}` is no id of a model: {name[:100]!r}.", param)
    return names.index(name)
