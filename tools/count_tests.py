#!/usr/bin/env python3
"""Fails where too few tests have passed: a run that skips or collects nothing is green, too.

python tools/count_tests.py build/cs3_ros/pytest.xml --least 1300
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def passed(report: Path) -> int:
    """Tests of pytest's JUnit report that ran and neither failed nor were skipped."""
    cases = ElementTree.parse(report).iter('testcase')
    return sum(all(part.tag not in ('skipped', 'failure', 'error') for part in c) for c in cases)


def main() -> int:
    """1 where too few have passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('report', type=Path)
    parser.add_argument('--least', type=int, required=True)
    options = parser.parse_args()
    count = passed(options.report)
    print(f'{count} tests passed, expected at least {options.least}')
    return int(count < options.least)


if __name__ == '__main__':
    sys.exit(main())
