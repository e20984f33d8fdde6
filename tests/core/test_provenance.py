"""The files behind a result."""

from pathlib import Path

from resnet8.core.provenance import fingerprint


def test_fingerprint_is_the_sha256_that_fips_180_gives(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # Source: FIPS 180-4, example of SHA-256 for "abc".
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint(path) == (path.as_posix(), 3, known)
