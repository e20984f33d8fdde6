"""A real OpenSSH server on a free loopback port, and a network to it that can fail."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""
MISSING = [
    name
    for name, path in {"sshd": SSHD, "ssh-keygen": shutil.which("ssh-keygen")}.items()
    if not path
]
ATTEMPTS = 5  # a port that was free may be taken before the server has it
START_SECONDS = 1800  # as long as a busy machine may take

# StrictModes would refuse any key below a folder that everybody may write to, such as /tmp.
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
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
    """Where a server listens, and who may log in: this user, with this private key."""

    port: int
    user: str
    key: Path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _make_separation_folder(config: Path) -> None:
    """Makes the empty folder that sshd wants when root starts it, as its service would."""
    checked = subprocess.run(
        [SSHD, "-t", "-f", config], capture_output=True, text=True, check=False
    )
    missing = re.search(r"Missing privilege separation directory: (\S+)", checked.stderr)
    if missing:
        Path(missing[1]).mkdir(mode=0o755, parents=True)


def _listens(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Waits until the server listens; False if it ended instead."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if "Server listening on 127.0.0.1" in log.read_text():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Runs a server for this user; its keys, configuration and log are in the folder."""
    folder.mkdir(mode=0o700)
    for name in ("host_key", "user_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)
    config, log = folder / "sshd_config", folder / "sshd.log"
    for _ in range(ATTEMPTS):
        port = _free_port()
        config.write_text(CONFIG.format(port=port, folder=folder))
        _make_separation_folder(config)
        with log.open("wb") as out:
            process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=out)
        try:
            if _listens(process, log):
                yield Server(port, pwd.getpwuid(os.getuid()).pw_name, folder / "user_key")
                return
        finally:
            process.terminate()
            process.wait()
    raise RuntimeError(f"sshd did not start: {log.read_text()}")


class Network:
    """A port that forwards to a server until it fails.

    When it fails, it forwards nothing more and either cuts all connections, or keeps them open:
    "hang" is what a crashed machine or a dropped route looks like from here.
    """

    def __init__(self, server_port: int) -> None:
        self.failed = threading.Event()
        self._healed = threading.Event()
        self._server_port = server_port
        self._how: Literal["cut", "hang"] = "cut"
        self._left: int | None = None  # bytes until it fails; None: never
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def fail_after(self, n_bytes: int, how: Literal["cut", "hang"]) -> None:
        """Fails when so many bytes, both ways together, have passed from now on."""
        with self._lock:
            self._left, self._how = n_bytes, how
            self.failed.clear()
            self._healed.clear()

    def heal(self) -> None:
        """Works again, for new connections."""
        self._close_connections()
        with self._lock:
            self._left = None
        self._healed.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _close_connections(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:
            client.close()
            return
        with self._lock:
            self._sockets += [client, server]
        self._start(self._forward, client, server)
        self._start(self._forward, server, client)

    def _passes(self, n_bytes: int) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= n_bytes
            if self._left >= 0:
                return True
            self.failed.set()
            return False

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # the other thread or `heal` closed it
            while data := source.recv(1 << 14):
                if self._passes(len(data)):
                    sink.sendall(data)
                elif self._how == "cut":
                    self._close_connections()
                else:
                    self._healed.wait()
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def network_to(server: Server) -> Iterator[Network]:
    network = Network(server.port)
    try:
        yield network
    finally:
        network.close()
