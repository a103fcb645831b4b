"""What the kernel knows of a connection and HTTP does not: whether the other side has closed it,
and whether anything that was sent had arrived by then.

Every packet of a server says how much its kernel has taken in, the one that closes included. So a
connection that is closed (FIN) with nothing of a request acknowledged was closed before the server
could see that request, and RFC 9110, section 9.2.2, lets it be sent again, a POST too. A reset
(RST) proves nothing: what was taken in before it may never have been acknowledged.
"""

import os
import socket
import struct
import sys

# State and acknowledged bytes of Linux's `struct tcp_info`; the latter since Linux 4.1.
_STATE_AND_ACKED = struct.Struct("=B119xQ")
_ESTABLISHED = 1


class _Borrowed(socket.socket):
    """Somebody else's socket: asked, and never closed."""

    def __del__(self) -> None:
        self.detach()


class TcpState:
    """Asks the kernel about one connection. Where it cannot be asked, nothing is claimed."""

    __slots__ = ("_acked_bytes", "_inode", "_socket")

    def __init__(self, lent: socket.socket | None) -> None:
        """`lent` stays its owner's; it is asked directly, as event loops wrap theirs dearly."""
        self._socket: socket.socket | None = None
        self._acked_bytes: int | None = None
        if lent is None or sys.platform != "linux" or lent.family == socket.AF_UNIX:
            return
        self._socket = _Borrowed(lent.family, lent.type, lent.proto, lent.fileno())
        self._inode = os.fstat(lent.fileno()).st_ino

    def look(self) -> bool:
        """Whether the other side has not closed yet; what is sent from here on is watched."""
        if self._socket is None:
            return True
        state, self._acked_bytes = self._ask(self._socket)
        return state == _ESTABLISHED

    def nothing_arrived(self) -> bool | None:
        """Whether no byte sent since `look` had reached the other side when it closed.

        None where nobody can tell. To be asked of a connection that the other side has closed.
        """
        if self._socket is None or self._acked_bytes is None:
            return None
        try:
            # Its owner may have closed it: the number could be another socket's by now.
            if os.fstat(self._socket.fileno()).st_ino != self._inode:
                return None
            _, acked_bytes = self._ask(self._socket)
        except OSError:
            return None
        return acked_bytes == self._acked_bytes

    def let_go(self) -> None:
        """The owner closes the socket: ask no more."""
        self._socket = None

    @staticmethod
    def _ask(asked: socket.socket) -> tuple[int, int | None]:
        told = asked.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _STATE_AND_ACKED.size)
        if len(told) < _STATE_AND_ACKED.size:
            return told[0], None
        state, acked_bytes = _STATE_AND_ACKED.unpack(told)
        return state, acked_bytes
