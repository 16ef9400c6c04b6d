"""The views, which are one page, and where its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
VIEWS: Final = ("/", "/user", "/item", "/map", "/dead-letters", "/models", "/experiments")
