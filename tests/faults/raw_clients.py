"""Clients that write bytes themselves, slowly, endlessly or wrongly."""

import contextlib
import json
import socket
import struct
import time
from urllib.parse import urlsplit

from tests.journeys.gateway_process import GatewayProcess

PATH = "/v1/chat/completions"


def connect(weir: GatewayProcess, timeout_s: float = 30.0) -> socket.socket:
    address = urlsplit(weir.base_url)
    return socket.create_connection((address.hostname, address.port), timeout_s)


def head(weir: GatewayProcess, *lines: str) -> bytes:
    """A request's head with the demo key, up to and with its empty line."""
    given = (f"POST {PATH} HTTP/1.1", "Host: weir", f"Authorization: Bearer {weir.key}", *lines)
    return "\r\n".join((*given, "", "")).encode()


def body(**fields: object) -> bytes:
    message = {"role": "user", "content": "Hello"}
    return json.dumps({"model": "auto", "messages": [message], **fields}).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def status_of(client: socket.socket) -> int:
    """The status of the answer; 0 where the connection ended without one."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n" not in received and (part := client.recv(4_096)):
            received += part
    words = received.split(b" ", 2)
    return int(words[1]) if len(words) > 2 else 0


def send_until_refused(client: socket.socket, piece: bytes, most: int) -> int:
    """Send a piece again and again until the other side has had enough; how many it took."""
    for number in range(most):
        try:
            client.sendall(piece)
        except (ConnectionError, TimeoutError):
            return number
    return most


def drip(client: socket.socket, text: bytes, pause_s: float, within_s: float) -> float:
    """Send byte by byte until an answer comes or the time is over; how long that took."""
    begun_s = time.monotonic()
    client.settimeout(pause_s)
    for number in range(len(text)):
        with contextlib.suppress(ConnectionError):
            client.sendall(text[number : number + 1])
        with contextlib.suppress(TimeoutError):
            client.recv(1, socket.MSG_PEEK)
            break
        if time.monotonic() - begun_s > within_s:
            break
    client.settimeout(10)
    return time.monotonic() - begun_s


def reset(client: socket.socket) -> None:
    """Close with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
