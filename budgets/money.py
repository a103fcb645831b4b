"""Money as integers: amounts in nano-USD, rates in pico-USD for each token.

One dollar is 1,000,000,000 nano-USD. Amounts above $9 M (nearly 2**53 nano-USD) are refused because
a shared store may count in doubles, which are exact only up to there. There is one rounding
function, and it rounds up: the error of a request is below one nano-dollar and never in the
caller's favour.
"""

from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation

NANO_PER_USD = 1_000_000_000
PICO_PER_NANO = 1_000
PICO_PER_USD = NANO_PER_USD * PICO_PER_NANO
TOKENS_PER_MILLION = 1_000_000
MS_PER_MINUTE = 60_000
MAX_LIMIT_NANO = 9_000_000 * NANO_PER_USD


class MoneyError(ValueError):
    """A text or number that is not an amount of money; the message says what was expected."""


def nano_from_pico(amount_pico: int) -> int:
    """Round pico-USD up to whole nano-USD."""
    return -(-amount_pico // PICO_PER_NANO)


def parse_usd(value: str | int | Decimal) -> Decimal:
    """Read dollars as an exact, finite, non-negative decimal; raise MoneyError otherwise.

    Floats are refused: 0.1 + 0.2 has no place in a price file. The config reader hands TOML floats
    over as Decimal, so `0.10` without quotes is exact as well.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise MoneyError(f'expected dollars such as "12.50", got {value!r}')
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise MoneyError(f'expected dollars such as "12.50", got {value!r}') from error
    if not amount.is_finite():
        raise MoneyError(f"expected a finite amount of dollars, got {value!r}")
    if amount < 0:
        raise MoneyError(f"expected zero or more dollars, got {value!r}")
    return amount


def nano_from_usd(value: str | int | Decimal) -> int:
    """Dollars to nano-USD, rounded up; raise MoneyError for what is no amount or above $9 M."""
    amount = parse_usd(value)
    if amount > MAX_LIMIT_NANO // NANO_PER_USD:
        raise MoneyError(f"expected at most 9000000 dollars, got {value!r}")
    return _scaled_up(amount, NANO_PER_USD)


def pico_rate_from_usd_per_million(value: str | int | Decimal) -> int:
    """A price in dollars for a million tokens, as pico-USD for each token, rounded up."""
    amount = parse_usd(value)
    if amount > 1_000_000:
        raise MoneyError(f"expected at most 1000000 dollars for a million tokens, got {value!r}")
    return _scaled_up(amount, PICO_PER_USD // TOKENS_PER_MILLION)


def pico_rate_from_usd(value: str | int | Decimal) -> int:
    """A price in dollars for one thing, as pico-USD, rounded up."""
    return _scaled_up(_at_most_a_million(value), PICO_PER_USD)


def pico_rate_from_usd_per_minute(value: str | int | Decimal) -> int:
    """A price in dollars for a minute, as pico-USD for each millisecond, rounded up."""
    return -(-_scaled_up(_at_most_a_million(value), PICO_PER_USD) // MS_PER_MINUTE)


def _at_most_a_million(value: str | int | Decimal) -> Decimal:
    amount = parse_usd(value)
    if amount > 1_000_000:
        raise MoneyError(f"expected at most 1000000 dollars, got {value!r}")
    return amount


def _scaled_up(amount: Decimal, factor: int) -> int:
    """The product rounded up, however many digits were written.

    Every step rounds up, and 50 digits leave more than 30 behind the point, so what is cut off
    never carries past the next whole number.
    """
    up = Context(prec=50, rounding=ROUND_CEILING)
    return int(up.multiply(amount, Decimal(factor)).to_integral_value(rounding=ROUND_CEILING))


def format_usd(amount_nano: int) -> str:
    """Nano-USD as exact dollars with nine decimals, such as `0.000012300`."""
    sign = "-" if amount_nano < 0 else ""
    whole, fraction = divmod(abs(amount_nano), NANO_PER_USD)
    return f"{sign}{whole}.{fraction:09d}"
