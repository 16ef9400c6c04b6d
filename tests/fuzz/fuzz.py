"""A coverage-guided run over every target of :mod:`tests.fuzz.targets`: ``make fuzz``, or

    python -m tests.fuzz.fuzz --runs 1000000

It needs ``atheris``, which only this program does: ``pip install atheris``. Each target runs in a process of its own,
from the seeds in the targets, and stops at the first input that it fails with, which is written beside its log. What
is tried is bounded: 64 KiB an input, 2 s and 2 GiB.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# An input beyond this time or memory is a failure as an exception is one.
SECONDS = 2
MEGABYTES = 2048
LONGEST = 65_536
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Run one target; libFuzzer ends the process."""
    import atheris

    # Everything that is imported from here on reports which branches it takes.
    with atheris.instrument_imports(include=["schemas", "workers", "models.attributes"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], TARGETS[name].run)
    atheris.Fuzz()


def fuzz_all(runs: int, directory: Path) -> int:
    """Run every target ``runs`` times, one after the other; return how many of them failed."""
    from tests.fuzz.targets import FIELDS, TARGETS

    words = directory / "words"
    words.parent.mkdir(parents=True, exist_ok=True)
    # libFuzzer does not see into the decoders, which are in C, and would hardly find the names of fields by itself.
    words.write_text("".join(f'"{word}"\n' for field in FIELDS for word in (field, f'\\"{field}\\": ')))
    total, crashes = 0, 0
    for name, target in TARGETS.items():
        own = directory / name
        corpus = own / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        limits = [f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}", f"-max_len={LONGEST}"]
        options = [f"-runs={runs}", *limits, f"-artifact_prefix={own}/", "-print_final_stats=1", "-verbosity=0"]
        options.append(f"-dict={words}")
        log = own / "log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "tests.fuzz.fuzz", "--target", name, *options, str(corpus)]
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
        found = _EXECUTED.findall(log.read_text(errors="replace"))
        executed = int(found[-1]) if found else 0
        total += executed
        crashes += done.returncode != 0
        verdict = "no failure" if done.returncode == 0 else f"FAILED, see {log}"
        print(f"{name}: {executed:,} executions, {len(list(corpus.iterdir())):,} inputs kept, {verdict}", flush=True)
    print(f"all: {total:,} executions, {crashes} crashes", flush=True)
    return crashes


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=150_000, help="executions of each target (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where corpus and failures go, a temporary one if not given")
    parser.add_argument("--target", help="run only this target, in this process; the rest goes to libFuzzer")
    given, rest = parser.parse_known_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 1
    if given.target:
        fuzz_one(given.target, rest)
    directory = given.directory or Path(tempfile.mkdtemp(prefix="latentstream-fuzz-"))
    return min(fuzz_all(given.runs, directory), 1)


if __name__ == "__main__":
    sys.exit(main())
