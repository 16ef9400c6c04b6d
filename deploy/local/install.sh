#!/usr/bin/env bash
# What the Makefile needs on a machine: `install.sh venv | java | prometheus | chromium | lock`.
#   venv  builds .venv with the versions in .ci/constraints.txt
#   java  installs Java 17 or later and Maven where they are missing, as root on Debian or Ubuntu; else says how
#   prometheus  takes prometheus and promtool, which tests ask, out of Debian's package into .venv; nothing is started
#   chromium  installs the browser that the explorer is tested in, as root on Debian; without it those tests are skipped
#   lock  writes the newest versions that pyproject.toml allows to .ci/constraints.txt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
    echo "latentstream: $*" >&2
    exit 1
}

can_run() {
    # A Python that is new enough, not newer than TensorFlow has wheels for, and can make environments.
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    local name
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if command -v "$name" >/dev/null && can_run "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11, 3.12 or 3.13 with venv is missing: install it (Debian, Ubuntu: apt-get install python3-venv)"
}

make_venv() {
    local python
    python=$(find_python)
    # One that was made by another Python, moved, or left half made is made anew.
    .venv/bin/python -c 'import pip' 2>/dev/null || rm -rf .venv
    [ -d .venv ] || "$python" -m venv .venv
    echo "Installing the Python packages into .venv (about 1.5 GB, once; this takes a minute or a few)."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint .ci/constraints.txt --editable '.[dev]'
}

java_is_fit() {
    local java=java version
    if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then java=$JAVA_HOME/bin/java; fi
    command -v "$java" >/dev/null || return 1
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ -n "$version" ] && [ "$version" -ge 17 ]
}

make_java() {
    local wanted=() package
    # With the address of a broker given, `latentstream stack up` starts none.
    if [ -n "${LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS:-}" ]; then return; fi
    if java_is_fit && command -v mvn >/dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "Java 17 or later and Maven are needed: install them (Debian, Ubuntu: apt-get install" \
            "openjdk-17-jre-headless maven; macOS: brew install openjdk maven)"
    fi
    echo "Installing Java and Maven with apt-get."
    apt-get update -qq
    if ! java_is_fit; then
        for package in openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless; do
            if apt-cache show "$package" >/dev/null 2>&1; then
                wanted+=("$package")
                break
            fi
        done
    fi
    command -v mvn >/dev/null || wanted+=(maven)
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${wanted[@]}" </dev/null >/dev/null
    java_is_fit || fail "Java is still older than 17: choose a newer one with update-alternatives, or set JAVA_HOME"
}

make_chromium() {
    if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "latentstream: Chromium and its driver are missing, so the explorer's pages are not tested (Debian:" \
            "apt-get install chromium chromium-driver)" >&2
        return
    fi
    echo "Installing Chromium with apt-get."
    apt-get update -qq
    # Where a system has no such package the tests say so, and fail where CI is true.
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium chromium-driver \
        fonts-dejavu-core </dev/null >/dev/null ||
        echo "latentstream: Chromium cannot be had here, so the explorer's pages are not tested" >&2
}

make_prometheus() {
    if [ -x .venv/bin/promtool ] || command -v promtool prometheus >/dev/null; then return; fi
    if ! command -v apt-get >/dev/null; then
        echo "latentstream: without prometheus and promtool on PATH some tests are skipped (brew install prometheus)" >&2
        return
    fi
    echo "Taking prometheus and promtool out of Debian's package."
    # Not local: the trap runs when the function has ended.
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    # Only root may renew the lists, and others may not need to.
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; fi
    # To install it would start a server with the machine.
    if ! (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" prometheus); then
        echo "latentstream: without prometheus and promtool some tests are skipped; in CI they fail" >&2
        return
    fi
    dpkg-deb --extract "$scratch"/prometheus_*.deb "$scratch"
    install "$scratch/usr/bin/prometheus" "$scratch/usr/bin/promtool" .venv/bin
}

make_lock() {
    # Not local: the trap runs when the function has ended.
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    # The oldest Python that is supported, whose versions the later ones have as well; and with all that the image may
    # have (deploy/Dockerfile), so that there is one set of versions.
    "$(find_python)" -m venv "$scratch/venv"
    "$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed \
        --report "$scratch/report.json" '.[dev,gpu,s3,gcs]'
    "$scratch/venv/bin/python" - "$scratch/report.json" >"$scratch/pins" <<'PYTHON'
import json, sys
sys.path.insert(0, "deploy")
from requirements import WITHOUT_GPU
found = {one["metadata"]["name"]: one["metadata"]["version"] for one in json.load(open(sys.argv[1]))["install"]}
found |= {other: found[name] for name, other in WITHOUT_GPU.items()}
pins = [f"{name}=={version}" for name, version in found.items() if name not in ("latentstream", "pip")]
print("\n".join(sorted(pins, key=str.lower)))
PYTHON
    { grep '^#' .ci/constraints.txt; cat "$scratch/pins"; } >"$scratch/constraints"
    cp "$scratch/constraints" .ci/constraints.txt
}

case "${1:-}" in
    venv) make_venv ;;
    java) make_java ;;
    prometheus) make_prometheus ;;
    chromium) make_chromium ;;
    lock) make_lock ;;
    *) fail "usage: $0 venv | java | prometheus | chromium | lock" ;;
esac
