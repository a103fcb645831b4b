"""How long a WAV file of plain samples is, by its own bytes. Pure.

What its header says of its length is not believed: a header that lies would make a request look
small. Rate, channels and width are believed, because whoever plays the samples needs them.
"""

import struct

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
MAX_CHUNKS = 64
MS_PER_S = 1_000


def wav_ms(raw: bytes, start: int, end: int) -> int | None:
    """The length of the file between two places in milliseconds, rounded up.

    None for what is no WAV or holds anything but plain samples: its bytes tell no length.
    """
    if end - start < 44 or raw[start : start + 4] != b"RIFF":
        return None
    if raw[start + 8 : start + 12] != b"WAVE":
        return None
    at = start + 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            return None
        (size,) = struct.unpack_from("<I", raw, at + 4)
        if raw[at : at + 4] == b"fmt ":
            return _length_ms(raw, at + 8, size, end, end - start)
        if raw[at : at + 4] == b"data":
            return None
        at += 8 + size + size % 2
    return None


def _length_ms(raw: bytes, at: int, size: int, end: int, file_bytes: int) -> int | None:
    if size < 16 or at + size > end:
        return None
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", raw, at)
    if kind == _EXTENSIBLE and size >= 26:
        (kind,) = struct.unpack_from("<H", raw, at + 24)
    bytes_per_s = rate * channels * bits // 8
    if kind not in (_PCM, _FLOAT) or not bytes_per_s:
        return None
    length_ms: int = -(-file_bytes * MS_PER_S // bytes_per_s)
    return length_ms
