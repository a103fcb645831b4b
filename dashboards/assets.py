"""The dashboard's own files under names that change with their content, so browsers may keep them.

Nothing is read before the first page asks for it, and only the compressed form stays in memory: the
chart library is 1.19 MB as a file and about 0.4 MB compressed.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from dashboards.theme import css_variables

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_GENERATED = "theme.css"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served: its hashed name, media type and gzip bytes."""

    name: str
    media_type: str
    gzipped: bytes

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.gzipped)


def _read(path: Path) -> bytes:
    return css_variables().encode() if path.name == _GENERATED else path.read_bytes()


def _asset(path: Path) -> Asset:
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(
        name=f"{path.stem}.{digest}{path.suffix}",
        media_type=_MEDIA_TYPES[path.suffix],
        gzipped=gzip.compress(content, 6, mtime=0),
    )


class Assets:
    """Every static file, found by plain name for the page and by hashed name for the browser."""

    __slots__ = ("_by_name", "_by_plain_name")

    def __init__(self) -> None:
        paths = [path for path in sorted(_FOLDER.iterdir()) if path.suffix in _MEDIA_TYPES]
        paths.append(_FOLDER / _GENERATED)
        self._by_plain_name = {path.name: _asset(path) for path in paths}
        self._by_name = {asset.name: asset for asset in self._by_plain_name.values()}

    def name_of(self, plain_name: str) -> str:
        """The hashed name; KeyError for a file that is not there."""
        return self._by_plain_name[plain_name].name

    def get(self, name: str) -> Asset | None:
        """The asset with this hashed name."""
        return self._by_name.get(name)
