"""The broker, the client and the codec of these tests are those of conformance/."""

import os
import sys

HERE = os.path.dirname(__file__)
sys.path[:0] = [os.path.join(HERE, "..", "..", "conformance"), HERE]  # what tests share is beside them
pytest_plugins = ["harness"]
