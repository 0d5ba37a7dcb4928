"""Which tuner this is, and which Python."""

from __future__ import annotations

import platform
import sys

# the package loads whatever a caller asks of it, both towers: nothing below may import it
TUNER: str = sys.modules["tuner"].__version__
PYTHON = platform.python_version()
