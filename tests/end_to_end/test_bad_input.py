"""An error that a person must fix gives one clear message, never a traceback.

A configuration file that cannot run ends the process with exit code 2, before anything starts. Any other error holds
only the affected parts: the process stays alive, says what it waits for, and obeys SIGTERM.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from helpers.commands import ended
from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE, until
from typer.testing import CliRunner

from connector import cli
from connector.errors import Fatal
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

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
    """The message of a command that refuses. Checks that it prints nothing else."""
    done = ended(environ, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    messages = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # log lines are JSON
    assert messages[0].startswith("connector: ")
    return "\n".join(messages)


@asynccontextmanager
async def holding(file: Path, environ: dict[str, str], log: Path) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Runs `connector run` and yields its message once it holds something. At the end SIGTERM stops it quietly."""
    process = _started(file, environ, log)

    async def says() -> str:
        await until(lambda: process.poll() is not None or "cell_held" in _said(log))
        assert process.poll() is None, _said(log)
        return _said(log)

    try:
        yield says
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None, within=30)  # less than a drain that never ends
        assert process.returncode == 0, _said(log)
        for unwanted in ("Traceback", "hunter2", "never retrieved", "was destroyed"):
            assert unwanted not in _said(log)
    finally:
        process.kill()
        process.wait()


def _started(file: Path, environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from connector.cli import main; main()", "run", str(file)]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environ)  # noqa: S603


def _said(log: Path) -> str:
    return log.read_text()


async def test_a_broker_that_does_not_answer_is_waited_for_with_the_port_open(tmp_path: Path) -> None:
    async with holding(EXAMPLE, environment(), tmp_path / "log") as says:
        said = await says()
        assert f"no Kafka broker answers at {NOWHERE}" in said
        assert "Check kafka.bootstrap_servers" in said
        address = re.search(r"http://127.0.0.1:[0-9]+", said)
        assert address, "the port must be open and logged"
        async with plain_http() as http:
            assert (await http.get(f"{address[0]}/healthz")).status_code == 200
            ready = await http.get(f"{address[0]}/readyz")
        assert ready.status_code == 503
        assert "no Kafka broker answers" in ready.json()["held"]["kafka"]


def test_topics_that_no_broker_takes() -> None:
    said = refused("topics", "apply", str(EXAMPLE), environ=environment())
    assert f"no Kafka broker answers at {NOWHERE}" in said
    assert "Check kafka.bootstrap_servers" in said


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("security_protocol: SSL", "Connection"),
        (
            "security_protocol: SASL_PLAINTEXT\n  sasl_mechanism: PLAIN\n  sasl_username: u\n  sasl_password: hunter2",
            "IllegalSaslState",
        ),
    ],
)
def test_a_listener_that_speaks_something_else(
    bootstrap_servers: str, unique: str, tmp_path: Path, settings: str, reason: str
) -> None:
    """The message contains the broker's answer: aiokafka itself would only say that it cannot connect."""
    file = _prefixed(tmp_path, unique, settings)
    said = refused("topics", "apply", str(file), environ=environment(KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers))
    assert f"no Kafka broker answers at {bootstrap_servers}: " in said
    assert reason in said
    assert "security_protocol and the SASL and TLS settings" in said


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(tmp_path: Path) -> None:
    """A service that waits at a prompt would hang silently."""
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        *pem, serialization.BestAvailableEncryption(b"a passphrase")
    )
    (tmp_path / "key.pem").write_bytes(_certificate() + locked)
    settings = f"security_protocol: SSL\n  ssl_cert_file: {tmp_path / 'key.pem'}"
    said = refused("run", str(_prefixed(tmp_path, "p.", settings)), environ=environment())
    assert "a certificate or key file cannot be used" in said
    assert str(tmp_path / "key.pem") in said
    assert "without a passphrase" in said


async def test_topics_that_are_missing(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    """The service goes on by itself once the topics exist."""
    file, environ = _prefixed(tmp_path, unique), environment(KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers)
    async with holding(file, environ, tmp_path / "log") as says:
        said = await says()
        assert f"{unique}pisano.attempts" in said
        assert "connector topics apply" in said
        await asyncio.to_thread(_apply, file, environ)
        await until(lambda: '"stage": "write"' in _said(tmp_path / "log"))


async def test_a_wrong_salesforce_secret(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    async with SalesforceDouble() as salesforce:
        file, environ = _prefixed(tmp_path, unique), environment(KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers)
        environ |= {"SF_LOGIN_URL": salesforce.login_url}
        _apply(file, environ)
        async with holding(file, environ, tmp_path / "log") as says:
            assert "invalid_client" in await says()
        assert len(salesforce.tokens) == 0


async def test_a_wrong_pisano_secret(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    """The error appears at the first invitation; then the connector sends nothing until a person fixes the secret."""
    async with SalesforceDouble() as salesforce, PisanoDouble() as pisano:
        file, environ = _prefixed(tmp_path, unique), environment(KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers)
        environ |= {
            "SF_LOGIN_URL": salesforce.login_url,
            "SF_CLIENT_ID": salesforce.client_id,
            "SF_CLIENT_SECRET": salesforce.client_secret,
            "SF_PUBSUB_ENDPOINT": salesforce.pubsub_endpoint,
            "PISANO_BASE_URL": pisano.base_url,
            "SURVEY_DELAY": "0s",  # the example waits two hours, and for the morning
            "SURVEY_HOURS": "00:00-24:00 UTC",
        }
        _apply(file, environ)
        async with holding(file, environ, tmp_path / "log") as says:
            await until(lambda: salesforce.streams)
            contact = salesforce.create("Contact", {"LastName": "Kaya", "Email": "bora@example.com"})
            case = salesforce.create("Case", {"ContactId": contact})
            salesforce.update("Case", case, {"Status": "Closed"})
            said = await says()
    assert "fetching a token: Pisano answered 401" in said
    assert "Check the credentials of this account" in said


async def test_a_taken_port(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    async with PisanoDouble() as somebody_else:
        port = somebody_else.base_url.rpartition(":")[2]
        said = await _refused_by(tmp_path, unique, KAFKA_BOOTSTRAP_SERVERS=bootstrap_servers, SERVICE_PORT=port)
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "service.port" in said


@pytest.mark.parametrize(
    "command",
    [
        "suppress add a@b.co",
        "suppress remove a@b.co",
        "suppress list",
        "invitations settle x drop --reason y",
        "invitations brake closed-case drop --reason y",
        "deadletters list",
        "held skip write/response --reason x",
        "replay send --from earliest --dry-run",
        "positions show",
        "person export a@b.co",
        "explain a@b.co FILE",
        "status FILE",
        "reconcile FILE",
        "topics apply FILE",
        "preview closed-case FILE --event 0/1",
        "preview closed-case FILE --since 7d",
    ],
)
def test_a_command_without_a_broker_is_one_sentence(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    where = [] if "FILE" in command else ["--config", str(EXAMPLE)]
    ended = CliRunner().invoke(cli.app, [*command.replace("FILE", str(EXAMPLE)).split(), *where])
    assert isinstance(ended.exception, Fatal), ended.exception
    assert f"no Kafka broker answers at {NOWHERE}" in str(ended.exception)


def test_an_unknown_stage() -> None:
    said = refused("run", str(EXAMPLE), "--stages", "capture,sent", environ=environment())
    assert "there is no stage 'sent'; the stages are capture, trigger, send, receive, write" in said


def test_no_java_and_no_docker(tmp_path: Path) -> None:
    environ = environment(PATH=str(tmp_path), DOCKER_HOST=f"tcp://{NOWHERE}", HOME=str(tmp_path))
    environ |= dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"http://{NOWHERE}")  # nothing can be fetched
    del environ["KAFKA_BOOTSTRAP_SERVERS"]
    said = refused("demo", str(EXAMPLE), environ=environ)
    assert "Docker" in said
    assert "Java 17" in said


def test_a_wrong_option_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "from connector.cli import main; main()", "run", "--log-level", "loud"]
    done = subprocess.run(command, check=False, timeout=PATIENCE)  # noqa: S603
    said = capfd.readouterr().err
    assert done.returncode == 2
    assert "'loud' is not one of 'debug', 'info', 'warning', 'error'" in said
    assert "Traceback" not in said


def _prefixed(folder: Path, prefix: str, settings: str = "security_protocol: PLAINTEXT") -> Path:
    file = folder / "connector.yaml"
    lines = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("  security_protocol:")]
    lines.insert(lines.index("kafka:") + 1, f"  topic_prefix: {prefix}\n  {settings}")
    file.write_text("\n".join(lines) + "\n")
    return file


def _certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _apply(file: Path, environ: dict[str, str]) -> None:
    ended(environ, "topics", "apply", str(file)).check_returncode()


async def _refused_by(folder: Path, prefix: str, **changes: str) -> str:
    """Like `refused`, for `connector run` with existing topics, while the doubles keep running in this process."""
    file, environ = _prefixed(folder, prefix), environment(**changes)
    _apply(file, environ)
    return await asyncio.to_thread(refused, "run", str(file), environ=environ)
