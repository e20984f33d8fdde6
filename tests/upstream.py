"""Servers and archives in place of the upstream hosts."""

import io
import socketserver
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from urllib3.connection import HTTPConnection

from resnet8.core import sources

PATIENCE_SECONDS = 1800  # enough on a busy machine for what always comes
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"


def replied(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP reply; its length is announced unless the headers say something else of it."""
    length = {} if "Transfer_Encoding" in headers else {"Content_Length": str(len(body))}
    lines = [f"{k.replace('_', '-')}: {v}" for k, v in (length | headers).items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode() + body


class Server:
    """Replies by path, one after the other, the last again and again.

    other: the reply to all other paths.
    """

    def __init__(self, other: bytes) -> None:
        self.url, self.other = "", other
        self.replies: dict[str, list[bytes]] = {}
        self.asked: list[str] = []

    def put(self, path: str, *replies: bytes) -> str:
        """Sets the replies of a path, and returns its URL."""
        self.replies[path] = list(replies)
        return self.url + path

    def reply(self, path: str) -> bytes:
        self.asked.append(path)
        replies = self.replies.get(path, [self.other])
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def serving(
    monkeypatch: pytest.MonkeyPatch, other: bytes, *, hangs: bool = False, drips: bool = False
) -> Iterator[Server]:
    """Runs a server; a connection that hangs or drips does so until the test is over.

    The stage has a short timeout only for a server that hangs, and only once all is sent, which may
    take long on a busy machine.
    """
    state = Server(other)
    over, sent = threading.Event(), threading.Semaphore(0)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = self.request.recv(65_536)
            with suppress(OSError):  # the client has closed the connection
                self.request.sendall(state.reply(request.split(b" ")[1].decode()))
                if hangs:
                    sent.release()
                    over.wait()
                while drips and not over.wait(0.01):
                    self.request.sendall(b"x")

    read_reply = HTTPConnection.getresponse

    def read_what_is_sent(self: HTTPConnection) -> object:
        sent.acquire()
        return read_reply(self)

    if hangs:
        monkeypatch.setattr(HTTPConnection, "getresponse", read_what_is_sent)
        monkeypatch.setattr(sources, "TIMEOUTS_SECONDS", (PATIENCE_SECONDS, 0.2))
    if drips:
        monkeypatch.setattr(sources, "WINDOW_SECONDS", 0.2)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield state
        over.set()
        server.shutdown()
        thread.join()


def be_patient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits for a busy machine, but not between attempts; returns the seconds of the latter."""
    waits: list[float] = []
    monkeypatch.setattr(sources, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(sources, "WINDOW_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(sources, "TIMEOUTS_SECONDS", (PATIENCE_SECONDS, PATIENCE_SECONDS))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return waits


def entry(name: str, content: bytes = b"x", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def tar(*entries: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    pax = tarfile.PAX_FORMAT
    with tarfile.open(fileobj=out, mode=mode, format=pax) as archive:  # type: ignore[call-overload]
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
