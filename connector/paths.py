"""Finds the files of the package that are not code."""

from pathlib import Path


def folder(name: str) -> Path:
    """The folder `topics` or `examples`: inside the package in a wheel, next to the package in a checkout."""
    package = Path(__file__).parent
    return next(place for place in (package / name, package.parent / name) if place.is_dir())
