"""``python test/fuzz N [SUBJECT ...]``: the fuzz suite by hand, with a table."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from judge import Tally, run, table  # noqa: E402
from subjects import SUBJECTS  # noqa: E402

parser = argparse.ArgumentParser(prog='make fuzz', description=__doc__)
parser.add_argument('tries', type=int, help='of each subject')
parser.add_argument('subjects', nargs='*', help=f'default: all of {", ".join(SUBJECTS)}')
parser.add_argument('--seed', type=int, default=0)
parser.add_argument('--verbose', action='store_true', help='say what came of each try')
options = parser.parse_args()
tallies: dict[str, Tally] = {}


def tried() -> Iterator[tuple[str, Tally]]:
    for name in options.subjects or SUBJECTS:
        tallies[name] = run(SUBJECTS[name], range(options.tries), options.seed)
        yield name, tallies[name]


for line in table(tried()):
    print(line, flush=True)
if options.verbose:
    for name, tally in tallies.items():
        for verdict, text in tally.texts:
            print(f'{name}: {verdict}: {text}')
failures = [
    f'{n}: {t}' for n, tally in tallies.items() for t in tally.failures(SUBJECTS[n].allowed)
]
print('\n'.join(failures) or 'no failure')
sys.exit(bool(failures))
