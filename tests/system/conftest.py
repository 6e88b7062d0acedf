"""The broker, the client and the codec of these tests are those of conformance/."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "conformance"))
pytest_plugins = ["harness"]
