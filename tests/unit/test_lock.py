"""The locks hold what pyproject.toml asks for, for every installer and from no particular address."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Each package of a lock with its version and how many hashes it has."""
    blocks = re.findall(
        r"^(\S+)==(\S+)[^\n]*\n((?: +--hash=sha256:[0-9a-f]{64}.*\n?)+)", (ROOT / name).read_text(), re.MULTILINE
    )
    return {package: (version, hashes.count("--hash")) for package, version, hashes in blocks}


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("requirements-dev.txt", list(PROJECT["optional-dependencies"])), ("requirements.txt", ["sandbox", "otel"])],
)
def test_a_lock_fits_pyproject(lock: str, extras: list[str]) -> None:
    """If this fails, `make update` writes the locks again."""
    asked = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    held = locked(lock)
    unlocked = [
        line
        for line, requirement in ((line, Requirement(line)) for line in asked)
        if (name := canonicalize_name(requirement.name)) != PROJECT["name"]
        and (name not in held or not requirement.specifier.contains(held[name][0]))
    ]
    assert unlocked == []


@pytest.mark.parametrize("lock", ["requirements-dev.txt", "requirements.txt"])
def test_a_lock_names_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert len(locked(lock)) == len(re.findall(r"^\S+==", text, re.MULTILINE))
