from glob import glob

from setuptools import find_packages, setup

# Bounds: the next major version (for 0.x the next minor one) may break what is used here;
# requirements/constraints.txt has the exact versions that were tested together.

# No OpenCV in the base install: of the distributions on PyPI exactly one may be present, and it is
# the one that MediaPipe asks for. In a robot's virtual environment it hides apt's python3-opencv.
OPENCV = 'opencv-contrib-python>=4.11,<5'
# From 0.10.30 on there is neither ``solutions`` nor a network of hands in the wheel; 0.10.18 is the
# last one with wheels for Linux on aarch64.
ON_ARM = 'sys_platform == "linux" and platform_machine == "aarch64"'
NOT_ON_ARM = 'sys_platform != "linux" or platform_machine != "aarch64"'
MEDIAPIPE = [f'mediapipe==0.10.18; {ON_ARM}', f'mediapipe>=0.10.13,<0.10.22; {NOT_ON_ARM}']
MODELS = [
    OPENCV,
    'torch>=2.6,<3',  # before 2.6 weights_only=True could be tricked into executing code
    'torchaudio>=2.6,<3',
    'torchvision<1',
    'transformers>=5,<6',
    'timm>=1,<2',  # the image encoder of EdgeTAM, as transformers builds it
    # an sdist that imports torch to build: install torch first, then --no-build-isolation
    'sam2>=1.1,<2',
    'safetensors<1',
]

setup(
    name='cs3_ros',
    version='0.1.0',
    description='Hears a collision and publishes masks of the one or two objects that collided',
    license='Apache-2.0',
    maintainer='cs3_ros maintainers',
    maintainer_email='maintainers@example.org',
    python_requires='>=3.11',
    packages=find_packages(include=['cs3_ros', 'cs3_ros.*']),
    package_data={
        'cs3_ros': [
            'py.typed',
            'bundles/*.yaml',
            'bundles/nano/*',  # with its weights and its model card
            'bundles/nano/*/*',
            'demo/*.html',
            'drawing/templates/*.html',
            'localisers/*.yaml',
            'ros/*.xml',
            'trigger/*.md',  # the card of
            'trigger/*.safetensors',  # the weights of onset.gate
        ]
    },
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/cs3_ros']),
        ('share/cs3_ros', ['package.xml']),
        ('share/cs3_ros/launch', sorted(glob('launch/*.launch.py'))),
        ('share/cs3_ros/config', sorted(glob('config/*.*'))),
        ('share/cs3_ros/config/sros2', sorted(glob('config/sros2/*'))),
    ],
    install_requires=[
        'numpy>=1.26,<2',  # Jazzy's own packages and MediaPipe are built for 1.26
        'PyYAML>=6,<7',
        'apsw<4',  # as rosbags has it: bags of sqlite3, read within bounds
        'av<19',
        'backports.zstd<2; python_version < "3.14"',
        'jinja2>=3.1,<4',
        'lz4>=4,<5',
        'rosbags>=0.11,<0.12',
        'safetensors<1',  # the weights of onset.gate, without torch
        'sounddevice<0.6',
        'tqdm>=4,<5',
    ],
    extras_require={
        'lite': [OPENCV, *MEDIAPIPE],
        'models': MODELS,
        'train': [
            *MODELS,
            'scikit-learn>=1,<2',
            'scipy>=1,<2',
            'tensorboard>=2,<3',
            'webdataset>=1,<2',
        ],
        'test': [
            'hypothesis>=6,<7',
            'import-linter>=2,<3',
            'mypy>=2,<3',
            'pytest>=8,<9',  # launch_testing of Jazzy breaks with 9
            'pytest-xdist>=3,<4',
            'rosbags-image<0.11',
            'ruff>=0.17,<0.18',  # what it reports changes with every minor version
            'scipy>=1,<2',
            'speechbrain>=1,<2',  # the reference that BEATs is compared with
            'types-PyYAML>=6,<7',
        ],
        'cluster': ['ray>=2.40,<3'],  # cs3-train extract --ray
        'bench': ['librosa<0.12', 'psutil>=5,<8', 'speechbrain>=1,<2'],
        'docs': [  # not of make setup
            'mkdocs>=1.6,<2',
            'mkdocs-material>=9,<10',
            'mkdocstrings>=0.26,<2',
            'mkdocstrings-python>=1,<3',
        ],
    },
    entry_points={
        'console_scripts': [
            'cs3 = cs3_ros.launcher:cs3',
            'cs3_node = cs3_ros.launcher:node',
            # for ros2 run and launch files
            'mic = cs3_ros.launcher:mic',
            'contact_node = cs3_ros.launcher:contact_node',
            'bag_play = cs3_ros.launcher:bag_play',
        ]
    },
    zip_safe=False,
)
