"""What a client is told where no provider could be asked, or none answered."""

from collections.abc import Mapping

from gateway.errors import ApiError
from gateway.providers.port import UpstreamError, UpstreamFault

_UPSTREAM_STATUS: Mapping[UpstreamFault, tuple[int, str]] = {
    UpstreamFault.CONNECT: (502, "upstream_unreachable"),
    UpstreamFault.BUSY: (503, "upstream_busy"),
    UpstreamFault.BROKEN: (502, "upstream_broken"),
    UpstreamFault.FIRST_BYTE_TIMEOUT: (504, "upstream_timeout"),
    UpstreamFault.IDLE_TIMEOUT: (504, "upstream_timeout"),
    UpstreamFault.TOTAL_TIMEOUT: (504, "upstream_timeout"),
}


def upstream_failed(error: UpstreamError, provider: str) -> ApiError:
    status, code = _UPSTREAM_STATUS[error.kind]
    return ApiError(status, code, f"Provider {provider}: {error}", kind="upstream_error")


def all_resting(model: str) -> ApiError:
    """The candidates came to rest between the decision and the first attempt."""
    message = f"Model {model} and its fallbacks rest after failures; nothing was sent."
    return ApiError(503, "provider_down", message, "model", "server_error")
