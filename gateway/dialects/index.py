"""Every dialect by its route; what is not here has no route."""

from collections.abc import Mapping

from gateway.dialects.chat import ChatCompletions
from gateway.dialects.completions import Completions
from gateway.dialects.embeddings import Embeddings
from gateway.dialects.images import ImageEdits, Images
from gateway.dialects.messages import CountTokens, Messages
from gateway.dialects.port import Dialect
from gateway.dialects.responses import Responses
from gateway.dialects.speech import Speech
from gateway.dialects.transcriptions import Transcriptions, Translations

_ALL: tuple[Dialect, ...] = (
    ChatCompletions(),
    Completions(),
    Responses(),
    Embeddings(),
    Messages(),
    CountTokens(),
    Images(),
    ImageEdits(),
    Speech(),
    Transcriptions(),
    Translations(),
)
BY_ROUTE: Mapping[str, Dialect] = {dialect.route: dialect for dialect in _ALL}
