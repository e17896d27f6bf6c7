"""The fixtures of ``limits_support``, which tests import by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from limits_support import open_table, ticking

__all__ = ["open_table", "ticking"]
