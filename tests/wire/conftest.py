"""Puts this folder on the path of its tests, for the server that sends what it is told to."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
