"""What the pages about Python, stages and contributing are run on."""

from __future__ import annotations

from pathlib import Path

import needs
import pytest


@pytest.fixture(scope='session')
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn clip of 1.3 s with one collision, in frame 27."""
    needs.opencv()
    import drawn_clip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn_clip, 'CLICK_FRAMES', (27,))
        patch.setattr(drawn_clip, 'SECONDS', 1.3)
        return drawn_clip.make_drawn_clip(tmp_path_factory.mktemp('clip') / 'clip.mp4').path
