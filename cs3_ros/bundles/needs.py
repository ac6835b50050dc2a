"""What stages need of other packages: is it here, does it work, and what an error of it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cs3_ros.bundles.stages import InstalledStage, StageSpec
from cs3_ros.packages import (
    PACKAGES,
    describe,
    explained,
    fix_of,
    is_installed,
    not_installed,
    problem_of,
)

_API_ERRORS = (AttributeError, TypeError, NameError)
"""What a package raises whose version is another than a stage was written for."""


@dataclass(frozen=True)
class PackageProblem:
    """A package that a stage needs and that does not work here."""

    package: str
    """The name by which it is imported."""
    found: str
    """What is wrong, with its version."""
    fix: str
    """What brings one that works."""

    @property
    def is_missing(self) -> bool:
        """Whether it is not there at all."""
        return self.found == not_installed(self.package)

    def __str__(self) -> str:
        return f'{self.found}: {self.fix}'


def summary(problems: Sequence[PackageProblem]) -> list[str]:
    """What is wrong, with all packages that are not there in one phrase."""
    missing = [problem.package for problem in problems if problem.is_missing]
    others = [problem.found for problem in problems if not problem.is_missing]
    return [f'not installed: {", ".join(missing)}', *others] if missing else others


def package_problems(specs: Sequence[StageSpec]) -> list[PackageProblem]:
    """Import what stages need, and reach for it, without loading weights; empty if all of it works.

    Where the packages work the modules of the stages are imported, too.
    """
    asked = {name: how_to_install(name, spec) for spec in specs for name in spec.packages}
    problems = [
        PackageProblem(name, problem, fix_of(problem, fix))
        for name, fix in asked.items()
        if (problem := problem_of(name))
    ]
    return problems or list(_module_problems(specs))


def _module_problems(specs: Sequence[StageSpec]) -> Iterator[PackageProblem]:
    for spec in specs:
        try:
            spec.load()
        except Exception as error:  # the code of a stage may raise anything
            package = _package_of(error, spec) or spec.module.partition('.')[0]
            found = f'{spec.module} cannot be imported ({type(error).__name__}: {error})'
            if is_installed(package):
                found += f'; {describe(package)}'
            yield PackageProblem(package, found, fix_of(found, how_to_install(package, spec)))


def problem_of_stage(stage: InstalledStage) -> str:
    """Load a stage of another package and import what it needs; '' where all of it works."""
    try:
        problems = package_problems([stage.load()])
    except ValueError as error:
        return str(error)
    return '; '.join(map(str, problems))


def how_to_install(package: str, spec: StageSpec) -> str:
    """What brings a package that a stage needs."""
    if spec.install and package not in PACKAGES:
        return spec.install
    known = PACKAGES.get(package)
    return known.install if known is not None else f'install {package} in a version that works'


def with_fix(error: Exception, spec: StageSpec) -> str:
    """What went wrong in a stage, and the command that brings a package that it lacks."""
    package = _package_of(error, spec)
    if not package:
        return explained(error)
    version = f' ({describe(package)})' if is_installed(package) else ''
    return f'{error}{version}: {fix_of(str(error), how_to_install(package, spec))}'


def refusal(error: Exception, spec: StageSpec, weights: str = '') -> str:
    """What an error of a library means: a package that does not work, its version, or the file.

    Args:
        error: anything but what stages raise themselves.
        spec: the stage that could not be built.
        weights: paths of the weights that its settings name.
    """
    if problems := package_problems([spec]):
        return str(problems[0])
    kind = type(error).__name__
    if weights and not isinstance(error, _API_ERRORS):
        # the text of the error is left out: what libraries advise here is to load it unsafely
        return f'{weights}: refused, damaged or not what it should be ({kind})'
    versions = ', '.join(map(describe, spec.packages)) or 'none but the base install'
    fixes = dict.fromkeys(how_to_install(package, spec) for package in spec.packages)
    file = f', or {weights} is not what it should be' if weights else ''
    return (
        f'{kind}: {error}; {spec.module} does not work with these packages ({versions}){file}'
        + ''.join(f'; {fix}' for fix in fixes)
    )


def _package_of(error: Exception, spec: StageSpec) -> str:
    """The package that could not be imported; '' where the error is of another kind."""
    name = (getattr(error, 'name', None) or '') if isinstance(error, ImportError) else ''
    package = str(name).partition('.')[0]
    return package if package in {*PACKAGES, *spec.packages} else ''
