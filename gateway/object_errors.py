"""The errors of requests that name what a provider keeps: responses, conversations, files."""

from gateway.errors import ApiError


def response_not_found(response_id: str) -> ApiError:
    """What OpenAI says of a response it does not know; here it is another team's."""
    code = "previous_response_not_found"
    return _not_found("Previous response", response_id, code, "previous_response_id")


def conversation_not_found(conversation_id: str) -> ApiError:
    """The same of a conversation."""
    return _not_found("Conversation", conversation_id, "conversation_not_found", "conversation")


def file_not_found(file_id: str) -> ApiError:
    """The same of a file."""
    return _not_found("File", file_id, "file_not_found", "file_id")


def _not_found(what: str, object_id: str, code: str, param: str) -> ApiError:
    message = f"{what} with id '{object_id[:100]}' not found."
    return ApiError(404, code, message, param, retry=False)


def owner_unavailable(what: str) -> ApiError:
    """503: nobody can say now whose it is, so nobody may use it now."""
    return ApiError(
        503,
        "owner_unavailable",
        f"Whose the {what} is that the request names could not be read, so nothing was sent. The "
        "gateway's log says why.",
        kind="server_error",
        retry=True,
        retry_after_s=1,
    )
