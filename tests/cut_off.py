"""A Unix socket before another one, which passes everything on but the answers to requests of one kind."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def cut_off(before: pathlib.Path, place: pathlib.Path, kind: bytes) -> Iterator[None]:
    """Listens at a place. kind: what requests have in their first line whose answers are lost: when the answer comes,
    so that they have been carried out, the connection is closed."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        threading.Thread(target=_serve, args=(listening, before, kind), daemon=True).start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # ends accept
            place.unlink()


def _serve(listening: socket.socket, before: pathlib.Path, kind: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            client = listening.accept()[0]
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(before))
            lost = threading.Event()
            for work in (_forward, _answer):
                threading.Thread(target=work, args=(client, server, kind, lost), daemon=True).start()


def _forward(client: socket.socket, server: socket.socket, kind: bytes, lost: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while told := client.recv(65536):
            if kind in told.partition(b"\r\n")[0]:
                lost.set()
            server.sendall(told)
        server.shutdown(socket.SHUT_WR)


def _answer(client: socket.socket, server: socket.socket, kind: bytes, lost: threading.Event) -> None:
    with client, server, contextlib.suppress(OSError):
        while (told := server.recv(65536)) and not lost.is_set():
            client.sendall(told)
        client.shutdown(socket.SHUT_RDWR)  # or the other thread would keep it open
