"""How many tokens a text is, estimated without a tokenizer.

The weights were fitted to the cl100k encoding on prose, code, JSON, mathematics and six
other languages. The estimate serves routing and context checks; money is reserved on a bound, never
on this.
"""

TOKENS_PER_WORD = 0.905
TOKENS_PER_LETTER = 0.039
TOKENS_PER_PUNCTUATION = 0.544
TOKENS_PER_DIGIT = 0.490
TOKENS_PER_NEWLINE = 1.556
TOKENS_PER_WIDE_BYTE = 0.464
TOKENS_PER_WIDE_CHAR = -0.498


def _flat_table() -> bytes:
    """Upper case to lower case, digits to `0`, ASCII punctuation and controls to a space."""
    table = bytearray(range(256))
    for code in range(128):
        char = chr(code)
        table[code] = ord("0") if char.isdigit() else ord(char.lower() if char.isalpha() else " ")
    return bytes(table)


FLAT_TABLE = _flat_table()
_PUNCTUATION = bytes(code for code in range(33, 127) if not chr(code).isalnum())


def utf8_size(text: str) -> int:
    """Bytes of a text in UTF-8; for a long one with wide characters, projected from its start."""
    if text.isascii():
        return len(text)
    start = text[:65_536].encode("utf-8", "surrogatepass")
    return len(start) if len(text) <= 65_536 else len(text) * len(start) // 65_536


def text_tokens(text: str) -> float:
    """Tokens of a short text, estimated from what it is made of."""
    plain = text.encode("ascii", "ignore")
    flat = plain.translate(FLAT_TABLE)
    digits = flat.count(b"0")
    newlines = plain.count(b"\n")
    punctuation = len(plain) - len(plain.translate(None, _PUNCTUATION))
    letters = len(plain) - punctuation - digits - newlines - plain.count(b" ")
    tokens = (
        TOKENS_PER_WORD * len(flat.split())
        + TOKENS_PER_LETTER * letters
        + TOKENS_PER_PUNCTUATION * punctuation
        + TOKENS_PER_DIGIT * digits
        + TOKENS_PER_NEWLINE * newlines
    )
    if len(plain) == len(text):
        return tokens
    wide_bytes = utf8_size(text) - len(plain)
    wide_chars = len(text) - len(plain)
    return tokens + TOKENS_PER_WIDE_BYTE * wide_bytes + TOKENS_PER_WIDE_CHAR * wide_chars
