"""What a person has to mend is one clear message and exit code 2, never a traceback."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from connector.doubles.pisano import PisanoDouble
from connector.doubles.salesforce import SalesforceDouble

EXAMPLE = Path(__file__).parents[2] / "examples" / "closed-case.yaml"
NOWHERE = "127.0.0.1:1"


def environment(**changes: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "SF_LOGIN_URL": f"http://{NOWHERE}",
        "SF_CLIENT_ID": "id",
        "SF_CLIENT_SECRET": "hunter2-salesforce",
        "SF_PUBSUB_ENDPOINT": NOWHERE,
        "SF_PUBSUB_TLS": "false",
        "PISANO_BASE_URL": f"http://{NOWHERE}",
        "PISANO_APP_ID": "app",
        "PISANO_APP_SECRET": "hunter2-pisano",
        "PISANO_WEBHOOK_SECRET": "hunter2-webhook-secret",
        "SERVICE_PORT": "0",
        **changes,
    }


def refused(*arguments: str, environ: dict[str, str]) -> str:
    """What the command says when it refuses, once it is clear that it says nothing else."""
    command = [sys.executable, "-c", "from connector.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=60)  # noqa: S603
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    messages = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # log lines are JSON
    assert messages[0].startswith("connector: ")
    return "\n".join(messages)


@pytest.mark.parametrize("arguments", [("run",), ("topics", "apply")])
def test_a_broker_that_does_not_answer(arguments: tuple[str, ...]) -> None:
    said = refused(*arguments, str(EXAMPLE), environ=environment())
    assert f"no Kafka broker answers at {NOWHERE}" in said
    assert "Check kafka.bootstrap_servers" in said


def test_topics_that_are_missing(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    said = refused(
        "run", str(_prefixed(tmp_path, unique)), environ=environment(KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers)
    )
    assert f"{unique}pisano.attempts" in said
    assert "connector topics apply" in said


async def test_a_wrong_salesforce_secret(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    async with SalesforceDouble() as salesforce:
        said = await _refused_by(
            tmp_path, unique, KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers, SF_LOGIN_URL=salesforce.login_url
        )
        assert len(salesforce.tokens) == 0
    assert re.search(r"invalid_client", said)


async def test_a_taken_port(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    async with PisanoDouble() as somebody_else:
        port = somebody_else.base_url.rpartition(":")[2]
        said = await _refused_by(tmp_path, unique, KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers, SERVICE_PORT=port)
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "service.port" in said


def test_an_unknown_stage() -> None:
    said = refused("run", str(EXAMPLE), "--stages", "capture,sent", environ=environment())
    assert "there is no stage 'sent'; the stages are capture, trigger, send, receive, write" in said


def test_no_java_and_no_docker(tmp_path: Path) -> None:
    environ = environment(PATH=str(tmp_path), DOCKER_HOST=f"tcp://{NOWHERE}", HOME=str(tmp_path))
    del environ["KAFKA_BOOTSTRAP_SERVERS"]
    said = refused("demo", str(EXAMPLE), environ=environ)
    assert "Docker" in said
    assert "Java 17" in said


def _prefixed(folder: Path, prefix: str) -> Path:
    file = folder / "connector.yaml"
    file.write_text(EXAMPLE.read_text().replace("kafka:\n", f"kafka:\n  topic_prefix: {prefix}\n", 1))
    return file


async def _refused_by(folder: Path, prefix: str, **changes: str) -> str:
    """As `refused`, of `connector run` with its topics there, while the doubles go on in this process."""
    file, environ = _prefixed(folder, prefix), environment(**changes)
    command = [sys.executable, "-c", "from connector.cli import main; main()", "topics", "apply", str(file)]
    subprocess.run(command, check=True, capture_output=True, env=environ, timeout=60)  # noqa: ASYNC221, S603
    return await asyncio.to_thread(refused, "run", str(file), environ=environ)
