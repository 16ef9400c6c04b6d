"""The error of a command that cannot do what it was asked."""

from __future__ import annotations

from workers.errors import Repairable


class CommandFailed(Repairable):
    """A command cannot do what it was asked."""
