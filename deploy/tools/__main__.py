"""``python -m deploy.tools``: fetch them, where they are not in the cache."""

from __future__ import annotations

import sys

from deploy.tools.fetch import ToolsMissing, fetch


def main() -> int:
    """Fetch the tools, or say in one line what cannot be had."""
    try:
        fetch(lambda text: print(text, file=sys.stderr))
    except ToolsMissing as error:
        print(f"latentstream: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
