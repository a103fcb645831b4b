"""The errors of requests that name what a provider keeps: responses, conversations, files."""

from gateway.errors import ApiError


def response_not_found(response_id: str) -> ApiError:
    """What OpenAI says of a response it does not know; here it is another team's."""
    return ApiError(
        404,
        "previous_response_not_found",
        f"Previous response with id '{response_id[:100]}' not found.",
        "previous_response_id",
        retry=False,
    )


def conversation_not_found(conversation_id: str) -> ApiError:
    """The same of a conversation."""
    return ApiError(
        404,
        "conversation_not_found",
        f"Conversation with id '{conversation_id[:100]}' not found.",
        "conversation",
        retry=False,
    )


def file_not_found(file_id: str) -> ApiError:
    """The same of a file."""
    return ApiError(
        404,
        "file_not_found",
        f"File with id '{file_id[:100]}' not found.",
        "file_id",
        retry=False,
    )


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
