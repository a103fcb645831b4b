"""What goes wrong with files and batches, in OpenAI's shape; docs/errors.md lists the codes."""

from gateway.errors import ApiError
from gateway.registries.objects import ObjectKind

_CALLED = {ObjectKind.FILE: "File", ObjectKind.BATCH: "Batch"}


def object_not_found(kind: ObjectKind, object_id: str) -> ApiError:
    """404 for an unknown id, and for one of another team: nobody can tell the two apart."""
    return ApiError(
        404,
        "object_not_found",
        f"No such {_CALLED[kind]} object: {object_id[:100]}",
        "id",
        retry=False,
    )


def file_too_large(limit_bytes: int) -> ApiError:
    return ApiError(
        413,
        "request_too_large",
        f"The upload is larger than {limit_bytes} bytes (batches.max_file_bytes).",
        "file",
        retry=False,
    )


def upload_too_slow(limit_s: float) -> ApiError:
    return ApiError(
        408,
        "request_timeout",
        f"The upload was not whole within {limit_s:g} s (batches.upload_timeout_s).",
        "file",
    )


def batch_uncertain(request_id: str, why: str) -> ApiError:
    """502: the provider may have accepted the batch, so its money stays held; no second try."""
    return ApiError(
        502,
        "batch_uncertain",
        f"Whether the provider took the batch is not known ({why}). What it may cost stays held as "
        f"{request_id} until the provider's list of batches tells. Should it be there, it is in "
        "your own list of batches within minutes: look there before you try again.",
        kind="upstream_error",
        retry=False,
    )
