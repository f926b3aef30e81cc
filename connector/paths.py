"""Where the files lie that belong to the package and are no code."""

from pathlib import Path


def folder(name: str) -> Path:
    """`topics` or `examples`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    return next(place for place in (package / name, package.parent / name) if place.is_dir())
