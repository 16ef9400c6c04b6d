from __future__ import annotations

import subprocess
import sys


def test_light_modules_do_not_import_tensorflow() -> None:
    """A process that only searches or decodes must start at once."""
    script = (
        "import sys, models.index, models.codecs, models.errors, models.metrics, models.baselines\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=120)


def test_importing_the_networks_says_nothing() -> None:
    """TensorFlow greets on standard error; workers' logs must stay readable."""
    done = subprocess.run(
        [sys.executable, "-c", "import models.training"], check=True, timeout=240, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout == ""
