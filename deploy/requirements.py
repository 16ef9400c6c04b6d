"""``python requirements.py cpu | gpu [EXTRA …]``: print what an image of ``pyproject.toml`` needs, with these extras.

The Dockerfile installs that before the code is there, so that a change of the code downloads nothing.
"""

import re
import sys
import tomllib
from pathlib import Path

# The same versions without what only GPUs need, which is half of the image.
WITHOUT_GPU = {"tensorflow": "tensorflow-cpu", "faiss-gpu": "faiss-cpu"}


def requirements(project: Path, target: str, names: list[str]) -> list[str]:
    """Return the requirements of ``target`` with the extras ``names``."""
    found = tomllib.loads(project.read_text())["project"]
    extras = found["optional-dependencies"]
    wanted = [*found["dependencies"], *(one for name in names for one in extras[name])]
    if target == "gpu":
        return [*wanted, *extras["gpu"]]
    return [re.sub(r"^[\w-]+", lambda name: WITHOUT_GPU.get(name[0], name[0]), one) for one in wanted]


if __name__ == "__main__":
    print(*requirements(Path("pyproject.toml"), sys.argv[1], sys.argv[2:]), sep="\n")
