"""Servers in place of the upstream host, as `fetch` asks them for the model."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet8.core import sources
from resnet8.core.processes import run_stage
from stages import fetch
from tests.hostile.harness import options, params, refuse, write_params
from tests.upstream import be_patient, replied, serving

PAGE = b"<!DOCTYPE html><title>Sign in</title>"
CHECK = r" Check the connection, or set RESNET8_MIRROR to a folder or URL that has the file\."
URL = r"http://127\.0\.0\.1:\d+/pretrainedResnet\.h5"


def redirect(target: str) -> bytes:
    return replied("302 Found", Location=target)


def announced(body: bytes, length: str) -> bytes:
    return replied("200 OK", body, Content_Length=length)


def chunked(body: bytes) -> bytes:
    return replied("200 OK", body, Transfer_Encoding="chunked")


def unreachable(kind: str, attempts: int, why: str = ".+") -> str:
    return rf"{URL} must be reachable, got {kind} in {attempts} attempts: {why}\.{CHECK}"


def other(n_bytes: int) -> str:
    return rf"{URL} must have SHA-256 \w+, got \w+ \({n_bytes} bytes\)\. The file is damaged .+"


FOREVER = b"10000\r\n" + bytes(0x10000) + b"\r\n"  # a chunk of 64 KiB
HEADERS = b"HTTP/1.1 200 OK\r\nX: "
SLOW = rf"{URL} must come with at least 65536 bytes in 0\.2 seconds, got \d+\.{CHECK}"
LOCAL = "No connection adapters .+ 'file:///etc/passwd'"
LESS = r".*IncompleteRead\(4 bytes read, 4 more expected\).*"
# All that a server sends to every request, and the stage's message after `error: `.
MIRRORS = {
    "an error page": (replied("200 OK", PAGE), other(37)),
    "an empty file": (replied("200 OK"), other(0)),
    "more than announced": (announced(b"long", "2"), other(2)),
    "an error page with its status": (
        replied("500 Oh no", PAGE), unreachable("HTTPError", 3, "500 .+"),
    ),
    "no such file": (replied("404 Not Found"), unreachable("HTTPError", 1, "404 .+")),
    "a sign-in": (replied("401 No"), unreachable("HTTPError", 1, "401 .+")),
    "a missing key": (replied("403 No"), unreachable("HTTPError", 1, "403 .+")),
    "a local file": (redirect("file:///etc/passwd"), unreachable("InvalidSchema", 1, LOCAL)),
    "another protocol": (redirect("ftp://127.0.0.1/x"), unreachable("Inv.+", 1)),
    "a redirect to itself": (redirect("/pretrainedResnet.h5"), unreachable("TooMany.+", 3)),
    "a redirect to no address": (redirect("http://[::1"), unreachable(".+", 1)),
    "a redirect to an empty host": (redirect("http:///x"), unreachable("TooMany.+", 3)),
    "an end before the reply": (b"", unreachable("ConnectionError", 3)),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n", unreachable("ConnectionError", 3)),
    "less than announced": (
        announced(b"half", "8"), unreachable("ChunkedEncodingError", 3, LESS),
    ),
    "a length that is no number": (
        announced(b"x", "many"), unreachable("ValueError", 1, "invalid literal .+ 'many'"),
    ),
    "two announced lengths": (announced(b"x", "1, 2"), unreachable(".+", 1)),
    "a broken chunk": (chunked(b"zz\r\nx"), unreachable("ChunkedEncodingError", 3)),
    "a compression that is none": (
        replied("200 OK", PAGE, Content_Encoding="gzip"), unreachable("ContentDecodingError", 3),
    ),
    "more than any model has": (
        chunked(FOREVER * 20), rf"{URL} must have at most 1048576 bytes, got more\.",
    ),
    "a thousand headers": (
        replied("200 OK", **{f"X{n}": "x" for n in range(1000)}), unreachable(".+", 3),
    ),
}  # fmt: skip
# These keep the connection open.
HANGING = {
    "silence": (b"", unreachable("ReadTimeout", 3)),
    "headers without end": (HEADERS, unreachable(".+", 3)),
    "a pause": (announced(b"half", "8"), unreachable("ConnectionError", 3, "Read timed out")),
}
# These send a byte now and then.
DRIPPING = {"headers": (HEADERS, SLOW), "content": (announced(b"", "99999"), SLOW)}
CASES = [
    *(pytest.param(*case, {}, id=name) for name, case in MIRRORS.items()),
    *(pytest.param(*case, {"hangs": True}, id=name) for name, case in HANGING.items()),
    *(pytest.param(*case, {"drips": True}, id=f"{x} in drops") for x, case in DRIPPING.items()),
]


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, object]]:
    """The stage's arguments for a mirror; all else is as on a machine that has fetched before."""
    be_patient(monkeypatch)
    monkeypatch.setattr(sources, "MAX_DOWNLOAD_BYTES", 2**20)
    for name in ("raw/cifar-10-batches-py", "linked"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "raw" / "model.h5").write_bytes(b"the model of the last run")

    def arguments(url: str) -> dict[str, object]:
        monkeypatch.setenv("RESNET8_MIRROR", url)
        path = write_params(tmp_path, fetch=params()["fetch"] | {"model": "mlperf_tiny"})
        return {"params": path, "linked": tmp_path / "linked", "out": tmp_path / "raw"}

    return arguments


@pytest.mark.parametrize(("reply", "message", "habit"), CASES)
def test_fetch_refuses(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    offered: Callable[[str], dict[str, object]],
    *,
    reply: bytes,
    message: str,
    habit: dict[str, bool],
) -> None:
    with serving(monkeypatch, reply, **habit) as server:
        refuse(fetch.main, offered(server.url), capfd, folder=tmp_path / "raw", message=message)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:99999999", "http://.", "http://a b"]
)
def test_fetch_refuses_a_mirror_at_no_address(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    offered: Callable[[str], dict[str, object]],
    url: str,
) -> None:
    message = r"\S.*/pretrainedResnet\.h5 must be reachable, got InvalidURL in 1 attempts: .+\."
    refuse(fetch.main, offered(url), capfd, folder=tmp_path / "raw", message=message + CHECK)


RIGHT = b"the right model"
REVEALING = {
    "no such file": replied("404 Not Found"),
    "an error": replied("500 Oh no"),
    "another file": replied("200 OK", PAGE),
    "too much": chunked(FOREVER * 20),
    "a redirect to a signed address": redirect("ftp://me:hidden@127.0.0.1/x?signature=hidden"),
    "a redirect to no address": redirect("http://me:hidden@[::1?signature=hidden"),
    "a header that is none": replied("404 No", **{": x": "y"}),
}


def fetch_secret(
    monkeypatch: pytest.MonkeyPatch, offered: Callable[[str], dict[str, object]], reply: bytes
) -> None:
    """Fetches a model from an address with secrets, all named `hidden`."""
    monkeypatch.setattr(fetch, "write_sample", lambda *_: None)
    with serving(monkeypatch, reply) as server:
        arguments, address = offered(""), server.url.replace("//", "//me:hidden@")
        secret = f"{address}/model.h5?token=hidden/hidden#hidden"
        checksum = hashlib.sha256(RIGHT).hexdigest()
        fetched = params()["fetch"] | {"model": secret, "model_sha256": checksum}
        write_params(Path(str(arguments["params"])).parent, fetch=fetched)
        fetch.main(options(**arguments))


@pytest.mark.parametrize("name", [*REVEALING, "the right model"])
def test_fetch_shows_no_secrets_of_an_address(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    offered: Callable[[str], dict[str, object]],
    name: str,
) -> None:
    reply = REVEALING.get(name, replied("200 OK", RIGHT))
    with pytest.raises(SystemExit, match="^1$" if name in REVEALING else "^0$"):
        run_stage(lambda: fetch_secret(monkeypatch, offered, reply))
    output = "".join(capfd.readouterr())
    assert ("/model.h5?*** must " if name in REVEALING else "http://***@127.0.0.1") in output
    assert "hidden" not in output
