from setuptools import find_packages, setup

setup(
    name='cs3_training',
    version='0.1.0',
    description='Training and evaluation of cs3_ros, and its synthetic collision world',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['cs3_training', 'cs3_training.*']),
    package_data={
        'cs3_training': [
            'curate/page.*',
            'evaluation/*.html',
            'evaluation/*.svg',
            'sounding/*.yaml',
        ],
    },
    install_requires=['cs3_ros[train]'],
    # the page of cs3-train annotate
    extras_require={'annotate': ['starlette>=1,<2', 'uvicorn<0.60']},
    entry_points={'console_scripts': ['cs3-train = cs3_training.cli:main']},
    zip_safe=False,
)
