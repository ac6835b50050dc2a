from setuptools import setup

setup(
    name='look_at_contact',
    version='0.1.0',
    packages=['look_at_contact'],
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/look_at_contact']),
        ('share/look_at_contact', ['package.xml']),
    ],
    entry_points={'console_scripts': ['look_at_contact = look_at_contact.node:main']},
)
