"""The most memory that this process has had."""

from __future__ import annotations

from pathlib import Path


def peak_memory_mb() -> float:
    """Return the peak of the resident memory in MiB, on Linux.

    Not that of ``getrusage``, which a child inherits from who started it.
    """
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
