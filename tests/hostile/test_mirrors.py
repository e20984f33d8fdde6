"""Servers in place of the upstream host, as `fetch` asks them for the model."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from resnet8.core import sources
from resnet8.core.processes import run_stage
from stages import fetch
from tests.hostile.harness import options, params, refuse, write_params
from tests.upstream import be_patient, replied, serving

PAGE = b"<!DOCTYPE html><title>Sign in</title>"
CHECK = r" Check the connection, or set RESNET8_MIRROR to a folder or URL that has the file\."
URL = r"http://127\.0\.0\.1:\d+/pretrainedResnet\.h5"


class Mirror(NamedTuple):
    """A server that replies the same to every request.

    reply: all that it sends, headers too.
    message: what the stage says after `error: `.
    hangs: it keeps the connection open.
    drips: it then sends a byte now and then.
    """

    name: str
    reply: bytes
    message: str
    hangs: bool = False
    drips: bool = False


def redirect(target: str) -> bytes:
    return replied("302 Found", Location=target)


def unreachable(kind: str, attempts: int, why: str = ".+") -> str:
    return rf"{URL} must be reachable, got {kind} in {attempts} attempts: {why}\.{CHECK}"


OTHER = (
    rf"{URL} must have SHA-256 \w+, got \w+ \({{}} bytes\)\. The file is damaged .+ get it anew\."
)
FOREVER = b"10000\r\n" + bytes(0x10000) + b"\r\n"  # a chunk of 64 KiB

SLOW = rf"{URL} must come with at least 65536 bytes in 0\.2 seconds, got \d+\.{CHECK}"

MIRRORS = [
    Mirror("an error page", replied("200 OK", PAGE), OTHER.format(37)),
    Mirror("an empty file", replied("200 OK"), OTHER.format(0)),
    Mirror(
        "an error page with its status",
        replied("500 Oh no", PAGE),
        unreachable("HTTPError", 3, "500 .+"),
    ),
    Mirror(
        "no such file",
        replied("404 Not Found"),
        unreachable("HTTPError", 1, "404 .+"),
    ),
    Mirror(
        "a sign-in",
        replied("401 No"),
        unreachable("HTTPError", 1, "401 .+"),
    ),
    Mirror("a missing key", replied("403 No"), unreachable("HTTPError", 1, "403 .+")),
    Mirror(
        "a redirect to a local file",
        redirect("file:///etc/passwd"),
        unreachable("InvalidSchema", 1, "No connection adapters .+ 'file:///etc/passwd'"),
    ),
    Mirror(
        "a redirect to another protocol", redirect("ftp://127.0.0.1/x"), unreachable("Inv.+", 1)
    ),
    Mirror("a redirect to itself", redirect("/pretrainedResnet.h5"), unreachable("TooMany.+", 3)),
    Mirror("a redirect to no address", redirect("http://[::1"), unreachable(".+", 1)),
    Mirror("a redirect to an empty host", redirect("http:///x"), unreachable("TooMany.+", 3)),
    Mirror("silence", b"", unreachable("ReadTimeout", 3), hangs=True),
    Mirror("headers without end", b"HTTP/1.1 200 OK\r\nX: ", unreachable(".+", 3), hangs=True),
    Mirror(
        "a pause in the middle",
        replied("200 OK", b"half", Content_Length="8"),
        unreachable("ConnectionError", 3, "Read timed out"),
        hangs=True,
    ),
    Mirror("an end before the reply", b"", unreachable("ConnectionError", 3)),
    Mirror("no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n", unreachable("ConnectionError", 3)),
    Mirror(
        "less than announced",
        replied("200 OK", b"half", Content_Length="8"),
        unreachable(
            "ChunkedEncodingError", 3, r".*IncompleteRead\(4 bytes read, 4 more expected\).*"
        ),
    ),
    Mirror("more than announced", replied("200 OK", b"long", Content_Length="2"), OTHER.format(2)),
    Mirror(
        "an announced length that is no number",
        replied("200 OK", b"x", Content_Length="many"),
        unreachable("ValueError", 1, "invalid literal .+ 'many'"),
    ),
    Mirror(
        "two announced lengths",
        replied("200 OK", b"x", Content_Length="1, 2"),
        unreachable(".+", 1),
    ),
    Mirror(
        "a broken chunk",
        replied("200 OK", b"zz\r\nx", Transfer_Encoding="chunked"),
        unreachable("ChunkedEncodingError", 3),
    ),
    Mirror(
        "a compression that is none",
        replied("200 OK", PAGE, Content_Encoding="gzip"),
        unreachable("ContentDecodingError", 3),
    ),
    Mirror(
        "more than any model has",
        replied("200 OK", FOREVER * 20, Transfer_Encoding="chunked"),
        rf"{URL} must have at most 1048576 bytes, got more\.",
    ),
    Mirror(
        "a thousand headers",
        replied("200 OK", **{f"X{n}": "x" for n in range(1000)}),
        unreachable(".+", 3),
    ),
    Mirror("headers in drops", b"HTTP/1.1 200 OK\r\nX: ", SLOW, drips=True),
    Mirror("content in drops", replied("200 OK", Content_Length="99999"), SLOW, drips=True),
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


@pytest.mark.parametrize("mirror", MIRRORS, ids=lambda mirror: mirror.name.replace(" ", "_"))
def test_fetch_refuses(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    offered: Callable[[str], dict[str, object]],
    mirror: Mirror,
) -> None:
    with serving(monkeypatch, mirror.reply, hangs=mirror.hangs, drips=mirror.drips) as server:
        arguments = offered(server.url)
        refuse(fetch.main, arguments, capfd, folder=tmp_path / "raw", message=mirror.message)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:99999999", "http://.", "http://a b"]
)
def test_fetch_refuses_a_mirror_at_no_address(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    offered: Callable[[str], dict[str, object]],
    url: str,
) -> None:
    message = (
        r"\S.*/pretrainedResnet\.h5 must be reachable, got InvalidURL in 1 attempts: .+\." + CHECK
    )
    refuse(fetch.main, offered(url), capfd, folder=tmp_path / "raw", message=message)


RIGHT = b"the right model"
REVEALING = {
    "no such file": replied("404 Not Found"),
    "an error": replied("500 Oh no"),
    "another file": replied("200 OK", PAGE),
    "too much": replied("200 OK", FOREVER * 20, Transfer_Encoding="chunked"),
    "a redirect to a signed address": redirect("ftp://me:hidden@127.0.0.1/x?signature=hidden"),
    "a redirect to no address": redirect("http://me:hidden@[::1?signature=hidden"),
    "a header that is none": replied("404 No", **{": x": "y"}),
}


def tell(
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


@pytest.mark.parametrize("reply", REVEALING.values(), ids=REVEALING)
def test_fetch_refuses_without_telling_the_secrets_of_an_address(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    offered: Callable[[str], dict[str, object]],
    reply: bytes,
) -> None:
    with pytest.raises(SystemExit, match="^1$"):
        run_stage(lambda: tell(monkeypatch, offered, reply))
    said = "".join(capfd.readouterr())
    assert "/model.h5?*** must " in said
    assert "hidden" not in said


def test_fetch_names_a_model_without_the_secrets_of_its_address(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    offered: Callable[[str], dict[str, object]],
) -> None:
    tell(monkeypatch, offered, replied("200 OK", RIGHT))
    said = "".join(capfd.readouterr())
    assert "http://***@127.0.0.1" in said
    assert "hidden" not in said
