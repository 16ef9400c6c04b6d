"""``python -m workers`` is ``latentstream``."""

from workers.cli import main

main()
