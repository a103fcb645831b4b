"""What a request for images or sound may use at most, before it is sent. Pure.

The length of a sound is not in its bytes unless they are plain samples (WAV, PCM). Otherwise it is
bounded by its bytes at the lowest bitrate that is plausible, `server.least_audio_bits_per_s`.
"""

from budgets.prices import Price, ceiling_nano, cost
from budgets.usage import TokenUsage
from budgets.value import value

# An image that goes in is at most so many tokens: OpenAI's largest, in high fidelity, with margin.
IMAGE_INPUT_TOKENS = 8_192
# A partial image of a stream costs so many output tokens more. Source: OpenAI's guide to images.
PARTIAL_IMAGE_TOKENS = 100
# OpenAI's models hear ten tokens a second; the rest is margin.
SOUND_TOKENS_PER_S = 25
FRAME_TOKENS = 32
MS_PER_S = 1_000
BITS_PER_BYTE = 8


@value
class Media:
    """What a request asks for: `unit` is what its like is billed by where it is not tokens.

    `count` is how many images or characters. `text_bytes` bounds the text among the input tokens,
    `pictures` are the images that go in, `partials` those that come before each one is done.
    `sound_ms` is a length known from the bytes; `sound_bytes` is sound of which it is not.
    """

    unit: str
    count: int = 0
    text_bytes: int = 0
    pictures: int = 0
    partials: int = 0
    sound_ms: int = 0
    sound_bytes: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether the answer itself is sound, which passes as it comes."""
        return self.unit == "characters"


@value
class MediaBound:
    """The most a request can use of a model, and what that costs at most."""

    usage: TokenUsage
    ceiling_nano: int

    def is_told_by(self, usage: TokenUsage, unit: str) -> bool:
        """Whether a report says what the price asks for; one in other units tells nothing."""
        if getattr(self.usage, unit):
            return bool(getattr(usage, unit))
        return bool(usage.input_tokens or usage.output_tokens)


def bound_media(
    media: Media, price: Price, max_output_tokens: int, overhead_tokens: int, least_bits_per_s: int
) -> MediaBound | None:
    """The bound at a price; None where the price does not say what this costs."""
    heard_ms = media.sound_ms + sound_ms(media.sound_bytes, least_bits_per_s)
    if media.unit in price.units:
        count = heard_ms if media.unit == "sound_ms" else media.count
        usage = _in_units(media.unit, max(1, count))
        return MediaBound(usage, cost(price, usage).total_nano)
    if not price.by_tokens:
        return None
    fresh = media.text_bytes + FRAME_TOKENS + overhead_tokens
    if media.unit == "images":
        each = max_output_tokens + PARTIAL_IMAGE_TOKENS * media.partials
        pictures = IMAGE_INPUT_TOKENS * media.pictures
        usage = TokenUsage(fresh=fresh, image_input=pictures, output=each * media.count)
    elif media.unit == "characters":
        usage = TokenUsage(fresh=fresh, audio_output=max_output_tokens)
    else:
        heard = -(-heard_ms * SOUND_TOKENS_PER_S // MS_PER_S)
        usage = TokenUsage(fresh=fresh, audio_input=heard, output=max_output_tokens)
    return MediaBound(usage, ceiling_nano(price, usage.input_tokens, usage.output_tokens))


def _in_units(unit: str, count: int) -> TokenUsage:
    if unit == "images":
        return TokenUsage(images=count)
    return TokenUsage(characters=count) if unit == "characters" else TokenUsage(sound_ms=count)


def sound_ms(sound_bytes: int, bits_per_s: int) -> int:
    """How long so many bytes of sound last at a bitrate, rounded up."""
    return -(-sound_bytes * BITS_PER_BYTE * MS_PER_S // bits_per_s)
