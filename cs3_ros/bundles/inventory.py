"""``cs3 bundles``: which bundles are ready here, and what brings the others there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from cs3_ros.bundles.bundle import Bundle, bundle_names, load_bundle
from cs3_ros.bundles.needs import PackageProblem, problem_of_stage, summary
from cs3_ros.bundles.stages import installed_stages
from cs3_ros.bundles.weights import WeightFile, digest_of, home, locate, recorded_digests
from cs3_ros.files.jsonfile import prepare_json, write_json

WIDEST_STATE = 60
"""Up to this width the states stand in a column of the printed table, letters."""


@dataclass(frozen=True)
class BundleRow:
    """One bundle on this machine."""

    name: str
    """Name of the bundle."""
    files: int
    """Files of weights that it needs."""
    warning: str
    """What everybody who runs it has to know; often empty."""
    missing: tuple[str, ...]
    """Those that are not here."""
    size_gb: float
    """Size of the missing files as far as it is known, GB (1e9 bytes)."""
    unknown_sizes: bool
    """Whether there are missing files of unknown size."""
    packages: tuple[str, ...]
    """Packages that are not installed or do not work."""
    problems: tuple[str, ...]
    """What is wrong with them."""
    licences: tuple[str, ...]
    """Licences of the weights."""
    damaged: tuple[str, ...]
    """Files whose SHA-256 is not the expected one; looked at on demand only."""
    steps: tuple[str, ...]
    """What to do, one sentence each."""

    @property
    def ready(self) -> bool:
        """Whether it runs."""
        return not (self.missing or self.packages or self.damaged)

    @property
    def state(self) -> str:
        """Its state in words."""
        found = []
        if self.missing:
            over = 'over ' if self.unknown_sizes else ''
            size = f' ({over}{self.size_gb:.1f} GB)' if self.size_gb >= 0.05 else ''
            found.append(f'missing {len(self.missing)} of {self.files} files{size}')
        if self.damaged:
            found.append(f'{len(self.damaged)} file(s) with a wrong SHA-256')
        return '; '.join([*found, *self.problems]) or 'ready'


def look(bundle: Bundle, check: bool = False) -> BundleRow:
    """Look at one bundle: are its files here, do its packages work; no weights are loaded.

    Args:
        bundle: its description.
        check: read every file of weights and verify its SHA-256, as far as it is known.
    """
    missing = bundle.lacking_weights
    damaged = tuple(_damaged(bundle)) if check else ()
    problems = bundle.package_problems()
    return BundleRow(
        name=bundle.name,
        files=len(bundle.weights),
        warning=bundle.warning,
        missing=tuple(file.path for file in missing),
        size_gb=sum(file.bytes for file in missing) / 1e9,
        unknown_sizes=any(file.bytes == 0 for file in missing),
        packages=tuple(problem.package for problem in problems),
        problems=tuple(summary(problems)),
        licences=tuple(dict.fromkeys(file.licence for file in bundle.weights)),
        damaged=tuple(str(locate(file.path, bundle.folder)) for file in damaged),
        steps=tuple(_steps(bundle, missing, damaged, problems)),
    )


def _damaged(bundle: Bundle) -> Iterator[WeightFile]:
    recorded = recorded_digests()
    for file in bundle.weights:
        path = locate(file.path, bundle.folder)
        expected = file.sha256 or recorded.get(file.path, '')
        if expected and path.is_file() and digest_of(path) != expected:
            yield file


def _steps(
    bundle: Bundle,
    missing: Sequence[WeightFile],
    damaged: Sequence[WeightFile],
    problems: Sequence[PackageProblem],
) -> Iterator[str]:
    yield from dict.fromkeys(problem.fix for problem in problems)
    for file in damaged:
        fix = f'then cs3 fetch {bundle.name}' if file.url else f'it comes from {file.origin}'
        path = locate(file.path, bundle.folder)
        yield f'{path} has not the expected SHA-256: remove it, {fix}'
    if any(file.url for file in missing):
        yield f'cs3 fetch {bundle.name}'
    for origin in dict.fromkeys(file.origin for file in missing if not file.url):
        paths = ', '.join(file.path for file in missing if file.origin == origin)
        yield f'{paths} in {home()}: from {origin}'


def main(options: argparse.Namespace) -> int:
    """Print the table; 1 when a file has another SHA-256 than it should."""
    prepare_json(options.json, options.force)
    rows = [look(load_bundle(name), options.check) for name in bundle_names()]
    print(f'weights in {home()} (environment variable CS3_HOME)')
    names = max(len(row.name) for row in rows)
    states = min(max(len(row.state) for row in rows), WIDEST_STATE)
    for row in rows:
        licences = f'weights: {", ".join(row.licences)}' if row.licences else 'no weights'
        print(f'{row.name:{names}}  {row.state:{states}}  {licences}')
        if row.warning:
            print(f'{"":{names}}  !! {row.warning}')
        for step in row.steps:
            print(f'{"":{names}}  -> {step}')
    _print_installed_stages()
    write_json(options.json, [asdict(row) | {'ready': row.ready} for row in rows])
    return int(any(row.damaged for row in rows))


def _print_installed_stages() -> None:
    """The stages of other packages that a bundle can name."""
    stages = installed_stages()
    if stages:
        print('stages of other packages')
    for stage in stages:
        problem = problem_of_stage(stage)
        state = 'does not work' if problem else 'ready'
        print(f'{stage.entry_point.name}  {stage.distribution}  {state}')
        if problem:
            print(f'  -> {problem}')
