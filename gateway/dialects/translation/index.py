"""Every translation there is, and those that a provider needs."""

from collections.abc import Iterable, Iterator

from gateway.dialects.translation.chat_to_messages import ChatToMessages
from gateway.dialects.translation.messages_to_chat import MessagesToChat
from gateway.dialects.translation.port import Translation
from gateway.dialects.translation.responses_to_chat import ResponsesToChat

MESSAGES, COUNTS = "messages", "count_tokens"
# In this order each may build on those before it: responses reach a provider of messages by chat.
ALL: tuple[Translation, ...] = (ChatToMessages(), MessagesToChat(), ResponsesToChat())


def needed(spoken: Iterable[str]) -> Iterator[Translation]:
    """The translations that a provider lacks, each building on its own dialects or an earlier one.

    `spoken` are dialects by the names `chat`, `messages`, `responses`, ...
    """
    known = set(spoken)
    for translation in ALL:
        if translation.goal_speech in known and translation.speech not in known:
            known.add(translation.speech)
            yield translation


def reached(spoken: Iterable[str]) -> frozenset[str]:
    """The dialects in which a provider can be asked, translations included.

    Where it is asked in messages, the gateway counts them if the provider does not.
    """
    known = frozenset(spoken)
    known |= {translation.speech for translation in needed(known)}
    return known | {COUNTS} if MESSAGES in known else known
