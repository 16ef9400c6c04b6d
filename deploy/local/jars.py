"""The jars of the Kafka broker: named in ``pom.xml``, fetched by Maven, kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import platformdirs

from deploy.local.processes import Say, StackError, exclusive

POM: Final = Path(__file__).with_name("pom.xml")
MIN_JAVA: Final = 17
_NAMESPACE: Final = {"m": "http://maven.apache.org/POM/4.0.0"}
_JAVA_ADVICE: Final = (
    "install it (Debian, Ubuntu: `apt-get install openjdk-17-jre-headless`; macOS: `brew install openjdk`), "
    "or set LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS to a broker that runs"
)
_MAVEN_ADVICE: Final = (
    "Maven, which fetches Kafka, is missing: install it (Debian, Ubuntu: `apt-get install maven`; "
    "macOS: `brew install maven`), or set LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS to a broker that runs"
)


def java() -> str:
    """Return the path of a Java that can run the broker.

    Raises:
        StackError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise StackError(f"Java {MIN_JAVA} or later, which Kafka needs, is missing: {_JAVA_ADVICE}")
    answer = subprocess.run([found, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', answer.stderr)
    if version is None:
        # On macOS a stub stands where no Java is installed.
        raise StackError(f"{found} is no Java that works: {_JAVA_ADVICE}")
    if int(version[1]) < MIN_JAVA:
        raise StackError(f"Kafka needs Java {MIN_JAVA} or later, and {found} is Java {version[1]}: {_JAVA_ADVICE}")
    return found


def kafka_version() -> str:
    """Return the version of Kafka that ``pom.xml`` names."""
    version = ElementTree.parse(POM).findtext("m:properties/m:kafka.version", namespaces=_NAMESPACE)  # noqa: S314 - our file
    if version is None:
        raise StackError(f"{POM} names no kafka.version: install latentstream again")
    return version


def kafka_jars(say: Say) -> Path:
    """Return the directory of the broker's jars, and fetch them first where they are not in the cache.

    The directory appears under its final name only when it is complete. Its name has a checksum of
    ``pom.xml``, so that a change of any pinned version fetches anew.

    Raises:
        StackError: Maven is missing or fails.
    """
    cache = Path(platformdirs.user_cache_dir("latentstream", appauthor=False))
    checksum = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    jars = cache / f"kafka-{kafka_version()}-{checksum}"
    if jars.is_dir():
        return jars
    with exclusive(cache / "kafka.lock"):
        # Somebody else may have fetched them while this process waited for the lock.
        if not jars.is_dir():
            _fetch(jars, say)
    return jars


def _fetch(jars: Path, say: Say) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(_MAVEN_ADVICE)
    say(f"Fetching Apache Kafka {kafka_version()} with Maven (about 45 MB, once).")
    partial = jars.with_name(jars.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [
        *(maven, "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(POM)),
        *("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"),
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode or not any(partial.glob("kafka_2.13-*.jar")):
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
        reason = errors[0].removeprefix("[ERROR]").strip() if errors else f"exit status {done.returncode}"
        raise StackError(f"Maven could not fetch Kafka: {reason}")
    partial.replace(jars)
