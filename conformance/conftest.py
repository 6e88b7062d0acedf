"""What the tests share is in harness.py."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
pytest_plugins = ["harness"]
