"""The installed package: the command works without the checkout, with the catalogue and the examples inside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("installed")
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site"), str(ROOT))
    return folder


def _run(*command: str, **environ: str) -> str:
    done = subprocess.run(  # noqa: S603 - this same interpreter
        command, capture_output=True, text=True, check=False, env={**os.environ, **environ}, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _connector(installed: Path, *arguments: str, **environ: str) -> str:
    """Runs the wheel's command with the tests' interpreter, whose own `connector` is the checkout."""
    code = "import connector, sys; assert sys.argv.pop(1) in connector.__file__; from connector.cli import main; main()"
    site = str(installed / "site")
    return _run(sys.executable, "-P", "-c", code, site, *arguments, PYTHONPATH=site, **environ)


def test_the_catalogue_comes_along(installed: Path) -> None:
    """The catalogue is complete and matches the models."""
    _connector(installed, "topics", "docs", "--check")


def test_the_examples_come_along_and_mean_something(installed: Path) -> None:
    example = installed / "site" / "connector" / "examples" / "closed-case.yaml"
    names = ("KAFKA_BOOTSTRAP_SERVERS", "SF_CLIENT_ID", "SF_CLIENT_SECRET", "PISANO_APP_ID", "PISANO_APP_SECRET")
    environ = dict.fromkeys(names, "localhost:9092") | {
        "SF_LOGIN_URL": "https://acme.my.salesforce.com",
        "PISANO_WEBHOOK_SECRET": "made-up-webhook-secret",
    }
    assert "When a Case changes" in _connector(installed, "check", str(example), **environ)


def test_the_pages_of_the_console_come_along(installed: Path) -> None:
    console = installed / "site" / "connector" / "console"
    for kind in ("html", "css", "js", "svg"):
        ours = {file.relative_to(ROOT / "connector" / "console") for file in (ROOT / "connector").rglob(f"*.{kind}")}
        assert ours
        assert ours == {file.relative_to(console) for file in console.rglob(f"*.{kind}")}
