"""The provider closes a kept connection at every moment of the next request: what is paid for it.

The provider writes down every request that it read to its end: it may bill no other. A request is
sent again only where it cannot have been read, so its list has each request at most once.
"""

import contextlib
import json
import os
import select
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.upstreams import assert_at_rest
from tests.journeys.gateway_process import Answer, GatewayProcess, budget, gateway, upstream_config
from tests.journeys.prompts import COUNTED_TOKENS, MESSAGE
from tests.journeys.upstream import usage

ROUNDS = int(os.environ.get("WEIR_RACE_ROUNDS", "40"))
AT_ONCE = 4
# A server may close with a request in its kernel that it has not read: nobody else can tell.
UNREAD_SHARE = 0.05
MAX_TOKENS = 12
ANSWER_NANO = 1_000 * COUNTED_TOKENS + 2_000 * MAX_TOKENS
# What the provider does with the second request of a connection.
AFTER_THE_WRITE = ("first bytes", "whole request", "half a head", "half a body")


def whole_answer() -> bytes:
    message = {"role": "assistant", "content": " water" * MAX_TOKENS}
    body = json.dumps(
        {
            "id": "chatcmpl-up",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "up-tiny",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage(MAX_TOKENS, COUNTED_TOKENS),
        }
    ).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return (head % len(body)).encode() + body


class Closer:
    """A provider that closes its connections after one request, or as the second comes."""

    def __init__(self, moment: str) -> None:
        self.moment = moment
        self.read: list[str] = []
        self.accepted = 0
        self._answer = whole_answer()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._read_one(connection):
                connection.sendall(self._answer)
                # About as long as the next request takes to come.
                patience_s = len(self.read) % 30 / 10_000
                if self.moment != "while idle":
                    break
                if not select.select([connection], [], [], patience_s)[0]:
                    return
            if self.moment == "first bytes":
                connection.recv(10)
            elif self._read_one(connection):
                connection.sendall(
                    {
                        "whole request": b"",
                        "half a head": self._answer[:30],
                        "half a body": self._answer[:-30],
                    }[self.moment]
                )

    def _read_one(self, connection: socket.socket) -> bool:
        text = b""
        while b"\r\n\r\n" not in text or len(text) < _size_bytes(text):
            piece = connection.recv(65_536)
            if not piece:
                return False
            text += piece
        self.read.append(_header(text, b"x-client-request-id").decode())
        return True

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _header(text: bytes, name: bytes) -> bytes:
    lines = text.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return next(line for line in lines if line.lower().startswith(name + b":"))[len(name) + 2 :]


def _size_bytes(text: bytes) -> int:
    return text.index(b"\r\n\r\n") + 4 + int(_header(text, b"content-length"))


@contextmanager
def closer(moment: str) -> Iterator[Closer]:
    up = Closer(moment)
    try:
        yield up
    finally:
        up.close()


def ask(weir: GatewayProcess, client_id: str) -> Answer:
    headers = {"x-client-request-id": client_id}
    return weir.chat(MESSAGE, max_tokens=MAX_TOKENS, headers=headers)


def rows_after(weir: GatewayProcess, answers: list[Answer]) -> list[dict[str, Any]]:
    """What was recorded of each request, once the books have been found in agreement."""
    report = assert_at_rest(weir)
    assert weir.stop() == 0
    rows = {row["request_id"]: row for row in weir.events()}
    assert len(rows) == len(answers) == report["entries"]
    assert report["ledger_nano"] == sum(row["cost_nano"] for row in rows.values())
    return [rows[answer.request_id] for answer in answers]


def test_a_close_while_idle_costs_no_request_and_none_is_read_twice(tmp_path: Path) -> None:
    text_of = budget("key:*", "50")
    with closer("while idle") as up, gateway(tmp_path, upstream_config(up.base_url, text_of)) as w:

        def rounds(caller: int) -> list[Answer]:
            return [ask(w, f"{caller}/{number}") for number in range(2 * ROUNDS // AT_ONCE)]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = [one for found in pool.map(rounds, range(AT_ONCE)) for one in found]
        rows = rows_after(w, answers)
    statuses = Counter(answer.status for answer in answers)
    print(f"{len(answers)} requests on {up.accepted} connections: {dict(statuses)}")
    assert set(Counter(up.read).values()) == {1}
    assert len(up.read) == statuses[200] >= (1 - UNREAD_SHARE) * len(answers)
    for answer, row in zip(answers, rows, strict=True):
        assert row["attempts"] == 1
        if answer.status == 200:
            assert (row["cost_nano"], row["usage_source"]) == (ANSWER_NANO, "provider")
        else:
            assert answer.error["code"] == "upstream_broken"
            assert ANSWER_NANO <= row["cost_nano"] <= row["reserved_nano"]


@pytest.mark.parametrize("moment", AFTER_THE_WRITE)
def test_a_close_after_the_write_is_charged_once_and_the_request_not_sent_again(
    tmp_path: Path, moment: str
) -> None:
    text_of = budget("key:*", "50")
    with closer(moment) as up, gateway(tmp_path, upstream_config(up.base_url, text_of)) as weir:
        answers = [ask(weir, f"{number}") for number in range(2 * ROUNDS)]
        kept, lost = answers[::2], answers[1::2]
        assert {answer.status for answer in kept} == {200}
        assert {(answer.status, answer.error["code"]) for answer in lost} == {
            (502, "upstream_broken")
        }
        assert up.accepted == ROUNDS
        assert set(Counter(up.read).values()) == {1}
        assert len(up.read) == (ROUNDS if moment == "first bytes" else 2 * ROUNDS)
        rows = rows_after(weir, answers)
    assert {row["cost_nano"] for row in rows[::2]} == {ANSWER_NANO}
    for row in rows[1::2]:
        assert (row["attempts"], row["usage_source"]) == (1, "estimated")
        assert ANSWER_NANO <= row["cost_nano"] <= row["reserved_nano"]
