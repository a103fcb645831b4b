"""What a client receives of a captured stream once a meter has read it, whole or cut."""

from gateway.errors import ApiError
from tests.unit.gateway.dialects.captures import capture, meter_for

PIECE_BYTES = 97
REQUEST_ID = "req_0123456789"


def relayed(name: str) -> list[bytes]:
    """Every event of a capture, as it left the meter, and the incomplete end if there is one."""
    meter = meter_for(name, len)
    whole = capture(name)
    passed = [
        sighting.raw
        for start in range(0, len(whole), PIECE_BYTES)
        for sighting in meter.feed(whole[start : start + PIECE_BYTES])
    ]
    return [*passed, meter.pending]


def cut_after(name: str, events: int, error: ApiError) -> list[bytes]:
    """The first events of a capture and then the meter's own end."""
    meter = meter_for(name, len)
    first = [sighting.raw for sighting in meter_for(name, len).feed(capture(name))][:events]
    passed = [sighting.raw for event in first for sighting in meter.feed(event)]
    return [*passed, meter.fail(error, REQUEST_ID)]
