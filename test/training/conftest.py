"""The tests of the training package need it, and torch."""

import pytest

pytest.importorskip('torch', reason='pip install "cs3_ros[train]"')
pytest.importorskip('cs3_training', reason='pip install -e training')
