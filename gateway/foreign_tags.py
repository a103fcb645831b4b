"""Tags that clients send for other gateways: which there are, and what they become."""

from collections.abc import Iterable, Iterator

from budgets.config import is_tag
from gateway.identity_sources import MAX_CLAIM_CHARS, PROPERTY, TAG_HEADERS, Sent

MAX_FOREIGN_TAGS = 10


def foreign_tags(sent: Sent) -> Iterator[tuple[str, str, str]]:
    """Name, value and source of the tags of others, in order; what cannot be a tag is left out."""
    for name, worth, source in _foreign(sent):
        if is_tag(f"{name}={worth}"):
            yield name, worth, source


def _foreign(sent: Sent) -> Iterator[tuple[str, str, str]]:
    headers = sent.headers
    for header, content in sent.properties.items():
        name = header[len(PROPERTY) :].decode("latin-1")
        yield name, content.decode("latin-1"), "helicone-property-*"
    if not TAG_HEADERS.isdisjoint(headers):
        listed = headers.get(b"x-litellm-tags", b"")[:MAX_CLAIM_CHARS].decode("latin-1")
        yield from _pairs(listed.split(","), "x-litellm-tags")
        for name, worth in sent.json_header(b"x-portkey-metadata").items():
            if name != "_user" and isinstance(worth, str):
                yield name.removeprefix("_"), worth, "x-portkey-metadata"
        for header, tag in ((b"openai-project", "project"), (b"x-title", "app")):
            yield tag, headers.get(header, b"").decode("latin-1"), header.decode()
    metadata = sent.body.get("metadata")
    given = metadata.get("tags") if isinstance(metadata, dict) else None
    if isinstance(given, list):
        texts = [one for one in given[:MAX_FOREIGN_TAGS] if isinstance(one, str)]
        yield from _pairs(texts, "metadata.tags")


def _pairs(texts: Iterable[str], source: str) -> Iterator[tuple[str, str, str]]:
    """`NAME=VALUE` or `NAME:VALUE`; a word alone is a tag that is set to `yes`."""
    for text in texts:
        if len(text) <= MAX_CLAIM_CHARS:
            name, _, worth = text.strip().replace(":", "=", 0 if "=" in text else 1).partition("=")
            yield name.strip(), worth.strip() or "yes", source
