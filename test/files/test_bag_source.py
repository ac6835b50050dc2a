"""Files of a bag: regular files of its own folder, unpacked within a bound."""

import needs

needs.opencv()

import gc
import os
import shutil

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from test_bags import edit_metadata, raw_image, write_bag

from cs3_ros.files import bag_source
from cs3_ros.files.bags import RAW, Bag, typestore
from cs3_ros.files.unpacking import zstd


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / 'bag', [('/i', 5, raw_image(5))])


@pytest.mark.parametrize('name', ['bag.mcap', 'metadata.yaml'])
@pytest.mark.parametrize('kind', ['pipe', 'device', 'folder'])
def test_only_regular_files(bag, name, kind):
    (bag / name).unlink()
    make = {
        'pipe': os.mkfifo,
        'device': lambda path: path.symlink_to('/dev/zero'),
        'folder': lambda path: path.mkdir(),
    }
    make[kind](bag / name)
    with pytest.raises(ValueError, match=f'{name}: is no regular file'):
        Bag(bag)


def test_a_link_to_a_regular_file_is_one(bag, tmp_path):
    (bag / 'bag.mcap').rename(tmp_path / 'elsewhere.mcap')
    (bag / 'bag.mcap').symlink_to(tmp_path / 'elsewhere.mcap')
    assert len(list(Bag(bag).messages())) == 1


@pytest.mark.parametrize(
    'names, reason',
    [
        ('../bag/bag.mcap', 'expected files of the folder alone'),
        ('/etc/passwd', 'expected files of the folder alone'),
        ('bag.mcap\n  - bag.mcap', "names 'bag.mcap' twice"),
        ('.', 'is no regular file'),
        ('gone.mcap', 'no such file'),
    ],
)
def test_files_of_the_folder_alone(bag, names, reason):
    edit_metadata(bag, '- bag.mcap', f'- {names}')
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        Bag(bag)


def test_a_packed_file_is_unpacked_within_a_bound(bag, monkeypatch, tmp_path):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    packed = zstd().compress((bag / 'bag.mcap').read_bytes())
    (bag / 'bag.mcap').unlink()
    (bag / 'bag.mcap.zstd').write_bytes(packed)
    edit_metadata(bag, '- bag.mcap', '- bag.mcap.zstd')
    edit_metadata(bag, "compression_format: ''", 'compression_format: zstd')
    edit_metadata(bag, "compression_mode: ''", 'compression_mode: FILE')
    assert [m.log_ns for m in Bag(bag).messages()] == [5]
    monkeypatch.setattr(bag_source, 'MAX_UNPACKED', 1000)
    monkeypatch.setattr(bag_source, 'MAX_RATIO', 1)
    with pytest.raises(ValueError, match='unfolds to more than'):
        Bag(bag)
    (bag / 'bag.mcap.zstd').write_bytes(packed[:-10])
    with pytest.raises(ValueError, match='bag: cannot be read as a bag'):
        Bag(bag)
    gc.collect()  # Python 3.12 keeps the frames of an exception until then
    assert list(tmp_path.glob('cs3_bag_*')) == [], 'nothing unpacked stays'


def test_a_packed_message_is_unpacked_within_a_bound(tmp_path, monkeypatch):
    path, store = tmp_path / 'bag', typestore()
    plain = bytes(store.serialize_cdr(raw_image(5)[1], RAW))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/i', RAW, typestore=store)
        writer.write(connection, 5, zstd().compress(plain))
    edit_metadata(path, "compression_format: ''", 'compression_format: zstd')
    edit_metadata(path, "compression_mode: ''", 'compression_mode: MESSAGE')
    assert [m.data for m in Bag(path).messages()] == [plain]
    monkeypatch.setattr(bag_source, 'MAX_MESSAGE', len(plain) - 1)
    with pytest.raises(ValueError, match='bag: cannot be read .*unfolds to more than'):
        list(Bag(path).messages())


@pytest.mark.parametrize('ending', ['.mcap', '.db3', ''])
def test_a_name_that_is_no_text_is_refused(bag, tmp_path, ending):
    path = tmp_path / os.fsdecode(b'odd\xff' + ending.encode())
    shutil.copytree(bag, path) if not ending else shutil.copy(bag / 'bag.mcap', path)
    with pytest.raises(ValueError, match='no UTF-8') as refused:
        Bag(path)
    str(refused.value).encode()
