"""A real OpenSSH server behind a network that can fail."""

import math
import os
import pwd
import re
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""
TOOLS = {"sshd": SSHD, "ssh-keygen": shutil.which("ssh-keygen")}
MISSING = [name for name, path in TOOLS.items() if not path]

# StrictModes would refuse any key below a folder that everybody may write to, such as /tmp.
CONFIG = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


class Server(NamedTuple):
    """A command that serves one connection, and who may log in: this user, with this key."""

    command: list[str]
    user: str
    key: Path


def set_up(folder: Path) -> Server:
    """Sets a server up for this user, with keys and configuration in a new folder."""
    folder.mkdir(mode=0o700)
    for name in ("host_key", "user_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    config = folder / "sshd_config"
    config.write_text(CONFIG.format(folder=folder))
    test = [SSHD, "-t", "-f", config]
    checked = subprocess.run(test, capture_output=True, text=True, check=False)
    # When root starts it, sshd wants an empty folder, which its service would make.
    if missing := re.search(r"Missing privilege separation directory: (\S+)", checked.stderr):
        Path(missing[1]).mkdir(mode=0o755, parents=True)
    command = [SSHD, "-i", "-f", str(config)]
    return Server(command, pwd.getpwuid(os.getuid()).pw_name, folder / "user_key")


class Network(socketserver.ThreadingTCPServer):
    """Connects to a server until it fails.

    When it fails, it forwards nothing more and either cuts all connections, or keeps them open:
    "hang" is what a crashed machine or a dropped route looks like from here.
    """

    daemon_threads = True

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.port: int = self.server_address[1]
        self.failed = threading.Event()
        self._healed = threading.Event()
        self._command = server.command
        self._how: Literal["cut", "hang"] = "cut"
        self._left = math.inf  # bytes until it fails
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def fail_after(self, n_bytes: int, how: Literal["cut", "hang"]) -> None:
        """Fails when so many bytes, both ways together, have passed from now on."""
        with self._lock:
            self._left, self._how = n_bytes, how
            self.failed.clear()
            self._healed.clear()

    def heal(self) -> None:
        """Works again, for new connections."""
        self._cut()
        self._left = math.inf
        self._healed.set()

    def _cut(self) -> None:
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def finish_request(self, client: socket.socket, _address: object) -> None:  # type: ignore[override]
        """Serves a connection, in a thread of its own."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                self._command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
            )
        with ours:
            self._sockets |= {client, ours}
            back = threading.Thread(target=self._forward, args=(ours, client), daemon=True)
            back.start()
            self._forward(client, ours)
            back.join()
            self._sockets -= {client, ours}
        process.wait()

    def _passes(self, n_bytes: int) -> bool:
        with self._lock:
            self._left -= n_bytes
            if self._left < 0:
                self.failed.set()
            return self._left >= 0

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # cut
            while data := source.recv(1 << 14):
                if self._passes(len(data)):
                    sink.sendall(data)
                elif self._how == "cut":
                    self._cut()
                else:
                    self._healed.wait()
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def network_to(server: Server) -> Iterator[Network]:
    with Network(server) as network:
        thread = threading.Thread(target=network.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield network
        network.shutdown()
        network.heal()
        thread.join()
