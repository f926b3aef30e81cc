"""Runs the connector against doubles, in this process or as its own process, with a test configuration."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from connector.config import Config, Kafka, catalogue
from connector.config.file import load
from connector.kafka import topics
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.wiring import STAGES, App
from helpers.forked import forked
from helpers.plain_http import plain_http
from helpers.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "closed-case.yaml"
WEBHOOK_SECRET = "made-up-webhook-secret"
_NOBODY = "http://127.0.0.1:1"  # the address of a double that a test does not need


@dataclass(frozen=True)
class Setup:
    """A configuration file, and the environment to read it in."""

    file: Path
    environ: Mapping[str, str]
    config: Config

    @property
    def kafka(self) -> Kafka:
        return self.config.kafka


async def set_up(
    folder: Path,
    bootstrap_servers: str,
    prefix: str,
    *,
    pisano: PisanoDouble | None = None,
    salesforce: SalesforceDouble | None = None,
    account: Mapping[str, Any] | None = None,
    accounts: Mapping[str, Any] | None = None,
    channels: Collection[str] | None = None,
    pubsub: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> Setup:
    """The example configuration with these doubles, on its own topics, which this function creates.

    A call carries one invitation, so that tests can count. `account` replaces settings of the Pisano account `main`,
    `accounts` replaces all accounts. `channels` and `pubsub` replace settings of Salesforce. `sections` are sections of
    the file, such as `surveys` or `feedback`, and replace the example's.
    """
    content = yaml.safe_load(EXAMPLE.read_text())
    for survey in content["surveys"].values():
        survey["on"] = survey.pop(True)  # YAML 1.1 reads the key `on` as true
    content["kafka"]["topic_prefix"] = prefix
    content["pisano"]["main"].update({"max_recipients_per_call": 1, **(account or {})})
    content["pisano"] = accounts or content["pisano"]
    if channels:
        content["salesforce"]["channels"] = list(channels)
    content["salesforce"]["pubsub"].update(pubsub or {})
    content.update(sections)
    if salesforce is None:  # nobody could be asked
        for survey in content["surveys"].values():
            survey.setdefault("protect", {})["recheck_after"] = "never"
    file = folder / "connector.yaml"
    file.write_text(yaml.safe_dump(content))
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "SERVICE_PORT": "0",
        "SF_LOGIN_URL": salesforce.login_url if salesforce else _NOBODY,
        "SF_CLIENT_ID": salesforce.client_id if salesforce else "nobody",
        "SF_CLIENT_SECRET": salesforce.client_secret if salesforce else "nobody",
        "SF_PUBSUB_ENDPOINT": salesforce.pubsub_endpoint if salesforce else "127.0.0.1:1",
        "SF_PUBSUB_TLS": "false",
        "SURVEY_DELAY": "0s",
        "SURVEY_HOURS": "00:00-24:00 UTC",
        "PISANO_BASE_URL": pisano.base_url if pisano else _NOBODY,
        "PISANO_APP_ID": pisano.app_id if pisano else "nobody",
        "PISANO_APP_SECRET": pisano.app_secret if pisano else "nobody",
        "PISANO_WEBHOOK_SECRET": WEBHOOK_SECRET,
    }
    config = load(file, environ)
    await topics.apply(config.kafka, catalogue.topics_for(config))
    return Setup(file, environ, config)


@asynccontextmanager
async def running_app(config: Config, stages: Collection[str] = STAGES) -> AsyncIterator[App]:
    """Runs the stages in this process, ready to work. Raises their failures; at the end it drains them."""
    stop = asyncio.Event()
    async with App(config, stages) as app:
        running = asyncio.create_task(app.run(stop))

        async def works() -> bool:
            return running.done() or all((await app.ready()).values())

        try:
            await until(works)
            yield app
        finally:
            stop.set()
            await running


async def metric(app: App, name: str) -> float:
    """The value of a metric, by its name and labels as in /metrics."""
    async with plain_http() as http:
        page = (await http.get(f"{app.address}/metrics")).text
    return next(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(f"{name} "))


async def held(app: App) -> dict[str, str]:
    """Which cells are held and why, as /readyz reports it."""
    async with plain_http() as http:
        page = (await http.get(f"{app.address}/readyz")).json()
    return dict(page.get("held", {}))


async def why_held(config: Config, stages: Collection[str]) -> dict[str, str]:
    """Runs the stages until one of their cells is held. Returns which cell and why."""
    async with App(config, stages) as app:

        async def besides_kafka() -> dict[str, str]:
            return {cell: reason for cell, reason in (await held(app)).items() if not cell.startswith("kafka")}

        return await until(besides_kafka)


async def in_flight(app: App, stage: str) -> int:
    """How many records a stage works on now."""
    return int(await metric(app, f'connector_in_flight{{stage="{stage}"}}'))


class Process:
    """`connector run` as its own process, with `options`. Its output goes to `log`."""

    def __init__(self, setup: Setup, stages: str, log: Path, *options: str) -> None:
        self._log = log
        log.touch()
        arguments = ["run", str(setup.file), "--stages", stages, *options]
        self._process = forked(arguments, setup.environ, log, log, childless="--processes" not in options)

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        """Kills the process as kill -9 does."""
        self._process.kill()
        self._process.join()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def drain(self) -> int:
        """Asks the process to end, as an orchestrator does. Returns its exit code."""
        self._process.terminate()
        await until(lambda: not self.runs)
        assert self.exit_code is not None
        return self.exit_code

    def said(self) -> str:
        return self._log.read_text(errors="replace")


class Workers:
    """Processes that run the same stages. Kills those that still live at the end."""

    def __init__(self, setup: Setup, stages: str, log: Path) -> None:
        self._setup, self._stages, self._log = setup, stages, log
        self._started: list[Process] = []

    def start(self) -> Process:
        self._started.append(Process(self._setup, self._stages, self._log))
        return self._started[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
