"""``python requirements.py [.] [EXTRA …]``: print what ``pyproject.toml`` depends on, and what its extras add.

The Dockerfile installs that before the code is there, so that a change of the code downloads nothing.
"""

import sys
import tomllib
from pathlib import Path


def main(names: list[str]) -> None:
    """Print one requirement a line."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    parts = {".": project["dependencies"], **project["optional-dependencies"]}
    for name in names:
        print(*parts[name], sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
