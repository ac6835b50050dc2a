from glob import glob

from setuptools import find_packages, setup

# No OpenCV in the base install: of the distributions on PyPI exactly one may be present, and it is
# the one that MediaPipe asks for. In a robot's virtual environment it hides apt's python3-opencv.
OPENCV = 'opencv-contrib-python>=4.11,<5'
MODELS = [
    OPENCV,
    'torch',
    'torchaudio',
    'torchvision',
    'transformers',
    'sam2',  # an sdist that imports torch to build: install torch first, --no-build-isolation
    'safetensors',
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
        ]
    },
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/cs3_ros']),
        ('share/cs3_ros', ['package.xml']),
        ('share/cs3_ros/launch', sorted(glob('launch/*.launch.py'))),
        ('share/cs3_ros/config', sorted(glob('config/*'))),
    ],
    install_requires=[
        'numpy>=1.26,<2',  # Jazzy's own packages and MediaPipe are built for 1.26
        'PyYAML',
        'av',
        'rosbags',
        'sounddevice',
        'tqdm',
    ],
    extras_require={
        'lite': [OPENCV, 'mediapipe'],
        'models': MODELS,
        'train': [*MODELS, 'tensorboard', 'scipy', 'soundfile'],
        'test': [
            'pytest<9',  # launch_testing of Jazzy breaks with 9
            'hypothesis',
            'rosbags-image',
            'scipy',
            'ruff',
            'mypy',
            'types-PyYAML',
            'speechbrain',  # the reference that BEATs is compared with
        ],
        'bench': ['librosa', 'psutil', 'speechbrain'],
    },
    entry_points={
        'console_scripts': [
            'cs3 = cs3_ros.cli:main',
            'cs3_node = cs3_ros.ros.node:main',
        ]
    },
    zip_safe=False,
)
