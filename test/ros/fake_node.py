"""The node with stages that need no model: a program for tests in separate processes."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes import fake_pipeline  # noqa: E402

from cs3_ros.ros import node  # noqa: E402

if __name__ == '__main__':
    pause_s = float(os.environ.get('CS3_TEST_PAUSE_S', '0'))
    sys.exit(node.main(None, lambda bundle, settings: fake_pipeline(pause_s)))
