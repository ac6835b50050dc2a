"""Files of settings that people hand to each other: none hangs or fills the memory."""

from __future__ import annotations

import needs

needs.training()

import pytest

from cs3_training.localiser.train import load_config
from cs3_training.nano.config import make_config
from cs3_training.sounding.config import load_config as load_sounding

BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{b}: &{b} [{", ".join([f"*{a}"] * 9)}]\n'
    for a, b in zip('abcdefghi', 'bcdefghij', strict=True)
)


@pytest.mark.parametrize(
    'load', [load_config, load_sounding, lambda path: make_config('smoke', path)]
)
@pytest.mark.parametrize(
    'text, reason',
    [(BOMB, r'alias \*a: expected it written out'), ('a: ' + '[' * 5000, 'nested too deeply')],
)
def test_bombs_are_refused(tmp_path, load, text, reason):
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'(?s)mine.yaml.*{reason}'):
        load(path)
