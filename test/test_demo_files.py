"""``cs3 demo`` touches nothing of the user's; test/ros/test_demo.py runs it."""

import argparse

import pytest
from tiny_media import write_media

from cs3_ros import demo


@pytest.mark.parametrize('clip', ['nothing.mp4', 'silent.mkv'])
def test_a_refused_clip_costs_nothing(tmp_path, clip):
    write_media(tmp_path / 'silent.mkv', frames=5)
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag' / 'mine').touch()
    options = argparse.Namespace(clip=tmp_path / clip, bundle='lite', out=tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match='no such video|has no sound'):
        demo.main(options)
    assert (tmp_path / 'bag' / 'mine').exists()
