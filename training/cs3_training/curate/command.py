"""``cs3-train curate``"""

import argparse


def add_parser(commands):
    commands.add_parser('curate')


def run(options):
    return 0
