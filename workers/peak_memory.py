"""The most memory that a process has had."""

from __future__ import annotations

from pathlib import Path


def peak_memory_mb(process: int | None = None) -> float:
    """Return the peak of the resident memory in MiB of ``process``, by default this one, on Linux.

    Not that of ``getrusage``, which a child inherits from who started it.
    """
    return int(Path(f"/proc/{process or 'self'}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
