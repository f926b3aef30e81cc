"""What is held: cells of the workers, and invitations whose outcome is unknown."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import httpx
from pydantic import ValidationError

from connector.config import Config
from connector.config.scope import one_of
from connector.decisions import Action
from connector.errors import Fatal
from connector.kafka.cell_work import UNREADABLE
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress, kept
from connector.kafka.ledger import ATTEMPTS, read_entry
from connector.kafka.parking import PARKED
from connector.operate.actions import action_of, write
from connector.operate.worker_page import address, asking
from connector.records import Outcome, Settlement

_ANSWERED_WITHIN = 5.0  # seconds; /readyz itself waits 2 s for Kafka
_STAGES = ("capture", "trigger", "send", "write")  # each is a cell too, and has one for its place in Kafka
_PARKING = ("trigger", "send", "write")  # each has a cell for what it cannot read


@dataclass(frozen=True)
class Worker:
    """What a worker says of its cells, by name; or why nobody knows."""

    url: str
    cells: dict[str, str]
    error: str | None = None


def default_url(config: Config) -> str:
    """Where this configuration's service answers on this machine. Raises Fatal when its port is not known."""
    if (found := address(config.service)) is None:
        raise Fatal("service.port is 0, so that nobody knows the port: give --url http://HOST:PORT for each worker")
    return found


async def workers(urls: Sequence[str]) -> list[Worker]:
    """Asks each worker for its held cells."""
    async with asking() as http:
        return list(await asyncio.gather(*(_ask(http, url.rstrip("/")) for url in urls)))


async def _ask(http: httpx.AsyncClient, url: str) -> Worker:
    try:
        page = (await http.get(f"{url}/readyz", timeout=_ANSWERED_WITHIN)).json()
        held = page.get("held", {})
        return Worker(url, {str(cell): str(reason) for cell, reason in held.items()})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Worker(url, {}, f"{url} does not answer ({type(error).__name__}): is the worker up, and --url right?")
    except (ValueError, AttributeError):
        return Worker(url, {}, f"{url} answers, but not as a worker of the connector does: is --url right?")


async def unknown(config: Config, progress: Progress = lambda *_: None) -> list[Settlement]:
    """The invitations whose outcome is unknown, in the order of the ledger. Raises what `kept` raises."""
    found: dict[bytes | None, Settlement] = {}
    async for record in kept(config.kafka, [config.kafka.topic_prefix + ATTEMPTS], progress=progress):
        if b'"unknown"' not in (record.value or b"") and record.key not in found:
            continue  # one of perhaps millions that are not looked for
        found.pop(record.key, None)
        try:
            entry = read_entry(record.value or b"")
        except ValidationError:
            continue
        if isinstance(entry, Settlement) and entry.outcome is Outcome.UNKNOWN:
            found[record.key] = entry
    return list(found.values())


async def release(config: Config, cell: str, *, by: str, reason: str) -> Action:
    """Asks the workers to try a held cell, and the cells in it, at once.

    Raises what `require_cell` raises.
    """
    await require_cell(config, cell)
    return await write(config, action_of("cell", f"cell/{cell}", "release", by=by, reason=reason))


async def require_cell(config: Config, cell: str) -> None:
    """Returns when there is such a cell in the configuration, or records were parked for it.

    Raises:
        Fatal: There is none, or only a decision about invitations releases it.
        Retryable: Kafka is away.
    """
    if cell.startswith("brake/"):
        survey = cell.rpartition("/")[2]
        raise Fatal(
            f"{cell} waits for a decision: connector invitations brake {survey} release|drop|spread --reason TEXT"
        )
    if cell in (names := _cells(config)):
        return
    async with aclosing(kept(config.kafka, [config.kafka.topic_prefix + PARKED])) as records:
        async for record in records:  # of a survey or an account that the configuration does not have any more
            if record.value is not None and is_parked_for(cell, record):
                return
    raise Fatal(f"there is no cell {cell}; {one_of(cell, names)}")


def is_parked_for(cell: str, record: InRecord) -> bool:
    """Whether a record of `connector.parked` belongs to this cell, or to one in it."""
    return f"{parked_for(record)}/".startswith(f"{cell}/")


def parked_for(record: InRecord) -> str:
    """The cell of a record on `connector.parked`."""
    headers = dict(record.headers)
    return b"/".join(headers.get(name, b"") for name in ("pk_stage", "pk_cell")).decode(errors="replace")


def _cells(config: Config) -> list[str]:
    channels = [f"capture/{channel.strip('/').replace('/', '.')}" for channel in config.salesforce.channels]
    surveys = [
        name for survey, one in config.surveys.items() for name in (f"trigger/{survey}", f"send/{one.account}/{survey}")
    ]
    accounts = [name for account in config.pisano for name in (f"send/{account}", f"send/{account}/(calls)")]
    stages = [name for stage in _STAGES for name in (stage, f"kafka/{stage}")]
    unreadable = [f"{stage}/{UNREADABLE}" for stage in _PARKING]
    rules = [f"write/{rule}" for rule in config.feedback]
    return [*channels, *surveys, *accounts, *rules, *unreadable, "kafka", "kafka/index", *stages]
