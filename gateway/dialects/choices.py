"""What streams of chat and of text completions share: choices, and usage in the last event."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from budgets.usage import usage_from_openai
from gateway.dialects.events import EventMeter
from gateway.dialects.openai_style import text_field
from gateway.errors import ApiError
from gateway.meter import Sighting


class ChoiceMeter(EventMeter):
    """Meters a stream of choices; what of a choice was generated is the dialect's to read."""

    __slots__ = ()

    @property
    def torn(self) -> bool:
        """Never told: not every provider ends with `[DONE]`."""
        return False

    def fail(self, error: ApiError, request_id: str) -> bytes:
        return error.as_sse()

    def _look_into(self, event: bytes, body: Mapping[str, Any]) -> Sighting:
        if body.get("error") is not None:
            self.error_seen = True
        choices = body.get("choices")
        report = body.get("usage")
        if report is not None:
            self._keep(usage_from_openai(report))
        if isinstance(choices, list) and choices:
            if not self.response_id:
                self.response_id = text_field(body, "id")
            for choice in choices:
                if isinstance(choice, dict):
                    self._look_at(choice)
            return Sighting(event)
        return Sighting(event, only_usage=report is not None)

    @abstractmethod
    def _look_at(self, choice: Mapping[str, Any]) -> None:
        """Take what one choice of an event holds of generated text."""
