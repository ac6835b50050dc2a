import needs

needs.networks()

import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from trap import Trap

from cs3_ros.collision import Frame
from cs3_ros.hands.hands23 import Hands23Config, Hands23Hands, rows_to_hands
from cs3_ros.hands.hands23_results import Hands23Hand

SHAPE = (480, 640, 3)
NONE = [-1, 0, 100, 100, 0]  # relations of a row that has no partner


def test_rows_of_the_network_become_the_rows_of_the_demo():
    # hand, hand, first object of both, second object
    boxes = np.array(
        [[0, 0, 10, 10], [50, 0, 60, 10], [5, 5, 30, 30], [20, 20, 90, 90]], np.float32
    )
    hands = rows_to_hands(
        boxes,
        np.array([0.996, 0.9, 0.871, 0.326], np.float32),
        np.array([0, 0, 1, 2]),
        np.array([[2, 1, 3, 100, 3], [2, 0, 3, 100, 4], [3, 0, 100, 2, 0], NONE], np.float32),
    )
    right, left = hands
    assert right == Hands23Hand(
        side='right',
        score=1.0,
        box=(0, 0, 10, 10),
        contact='object_contact',
        object_box=(5, 5, 30, 30),
        object_score=0.87,
        second_box=(20, 20, 90, 90),
        second_score=0.33,
    )
    assert left.side == 'left' and left.contact == 'obj_to_obj_contact'
    assert left.object_box == right.object_box


@pytest.mark.parametrize('partner', [-1, 1, 2, 7])
def test_a_partner_that_is_no_first_object_is_none(partner):
    (one,) = rows_to_hands(
        np.zeros((2, 4)),
        np.ones(2),
        np.array([0, 2]),
        np.array([[partner, 1, 0, 100, 3], NONE]),
    )
    assert one.object_box is None and one.second_box is None


def test_nothing_seen_is_no_hands():
    assert rows_to_hands(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros((0, 5))) == ()


class Settings(SimpleNamespace):
    """Stands in for detectron2's configuration."""

    def __init__(self):
        super().__init__(MODEL=SimpleNamespace(WEIGHTS='hub', ROI_HEADS=SimpleNamespace()))

    def merge_from_file(self, path, allow_unsafe=True):
        self.merged = (path, allow_unsafe)


@pytest.fixture
def detectron2(monkeypatch, tmp_path):
    """A stand-in of detectron2 and of the authors' repository; what they were asked for."""
    asked = SimpleNamespace(images=[])

    class Predictor:
        def __init__(self, cfg):
            assert cfg.MODEL.WEIGHTS == '' and 'hodetector.modeling.roi_heads' in sys.modules
            asked.cfg, self.model = cfg, torch.nn.Linear(2, 1)
            asked.model = self.model

        def __call__(self, image):
            asked.images.append(image)
            relations = torch.zeros(2, 27)
            relations[0, 4:9] = torch.tensor([1.0, 1.0, 3.0, 100.0, 3.0])
            relations[1, 4:9] = torch.tensor(NONE)
            return {
                'instances': SimpleNamespace(
                    pred_boxes=SimpleNamespace(
                        tensor=torch.tensor([[10.0, 20.0, 30.0, 40.0], [25.0, 25.0, 80.0, 80.0]])
                    ),
                    scores=torch.tensor([0.9, 0.8]),
                    pred_classes=torch.tensor([0, 1]),
                    pred_dz=relations,
                )
            }

    for name, values in {
        'detectron2': {},
        'detectron2.config': {'get_cfg': Settings},
        'detectron2.engine': {'DefaultPredictor': Predictor},
    }.items():
        module = ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    repository = tmp_path / 'hands23_detector'
    (repository / 'hodetector' / 'modeling' / 'roi_heads').mkdir(parents=True)
    (repository / 'hodetector' / 'modeling' / 'roi_heads' / '__init__.py').write_text('')
    before = set(sys.modules)
    asked.repository, asked.checkpoint = repository, tmp_path / 'model_hands23.pth'
    torch.save({'model': torch.nn.Linear(2, 1).state_dict()}, asked.checkpoint)
    yield asked
    for name in set(sys.modules) - before:
        if name.startswith('hodetector'):
            del sys.modules[name]


def machine(on_gpu=True):
    """A runtime that says it is a GPU."""
    return SimpleNamespace(
        on_gpu=on_gpu,
        device='cuda',
        stream=lambda: SimpleNamespace(work=nullcontext),
        to_host=lambda tensor: tensor.detach().numpy(),
    )


def network(asked, **changes):
    paths = {'repository': str(asked.repository), 'checkpoint': str(asked.checkpoint)}
    return Hands23Hands(Hands23Config(**{**paths, **changes}), machine())


def test_the_authors_network_is_built_with_their_thresholds(detectron2):
    path = list(sys.path)
    made = network(detectron2)
    cfg = detectron2.cfg
    assert (cfg.HAND, cfg.FIRSTOBJ, cfg.SECONDOBJ, cfg.HAND_RELA, cfg.OBJ_RELA) == (
        *(0.7, 0.5, 0.3),
        *(0.3, 0.7),
    )
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.3 and cfg.MODEL.DEVICE == 'cuda'
    assert cfg.merged[0].startswith(str(detectron2.repository)) and cfg.merged[1] is False
    state = torch.load(detectron2.checkpoint, weights_only=True)['model']
    torch.testing.assert_close(detectron2.model.state_dict(), state)
    assert sys.path == path

    image = np.zeros(SHAPE, np.uint8)
    image[..., 0] = 200  # red
    (found,) = made.detect([Frame.from_rgb(1, image)], 0)
    assert (found.side, found.score) == ('right', 0.9)
    assert found.hand_box == (10, 20, 30, 40) and found.object_box == (25, 25, 80, 80)
    assert detectron2.images[0][0, 0].tolist() == [0, 0, 200]  # blue, green, red


def test_a_checkpoint_of_another_network_is_refused(detectron2):
    torch.save({'model': {'weight': torch.zeros(1, 2)}}, detectron2.checkpoint)
    with pytest.raises(ValueError, match='lacks 1 weights of Hands23, first bias'):
        network(detectron2)


def test_a_malicious_checkpoint_is_not_executed(detectron2, tmp_path):
    torch.save({'model': Trap(tmp_path / 'executed')}, detectron2.checkpoint)
    with pytest.raises(ValueError, match='model_hands23.pth: refused'):
        network(detectron2)
    assert not (tmp_path / 'executed').exists()


def test_another_folder_is_not_the_repository(detectron2, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ImportError, match='expected a checkout of https://github.com/EvaCheng'):
        network(detectron2, repository=str(tmp_path / 'empty'))


def test_without_detectron2_the_error_says_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'detectron2', None)
    config = Hands23Config(repository=str(tmp_path), checkpoint=str(tmp_path))
    with pytest.raises(ImportError, match='pip install .git.https://github.com/facebookresearch'):
        Hands23Hands(config, machine())


@pytest.mark.parametrize('name', ['repository', 'checkpoint'])
def test_both_paths_must_be_named(tmp_path, name):
    paths = {'repository': str(tmp_path), 'checkpoint': str(tmp_path), name: ''}
    with pytest.raises(ValueError, match=f'{name} is empty'):
        Hands23Hands(Hands23Config(**paths), machine())


def test_without_a_gpu_the_error_names_the_other_way(tmp_path):
    config = Hands23Config(repository=str(tmp_path), checkpoint=str(tmp_path))
    with pytest.raises(RuntimeError, match='hands23_json'):
        Hands23Hands(config, machine(on_gpu=False))
