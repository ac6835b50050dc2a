"""The tests of the training package need it, and torch."""

import pytest

pytest.importorskip('torch', reason='the extra train is not installed')
pytest.importorskip('cs3_training', reason='pip install -e training')
