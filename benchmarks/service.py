"""Measures the whole service when it has nothing to do: how soon it is ready, and what it costs.

`connector run` runs all five stages as its own process, on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the
script starts) with both doubles in this process. Ready means that /readyz says so. Memory is the resident set after a
minute; the share of a core is the CPU time of the minute after that. The earlier build runs in turns with this one.

Claims: ready in under 2 s, less than 100 MB, less than 0.7 % of a core.
"""

import asyncio
import math
import re
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _command
import httpx
from _builds import THIS_BUILD, connector, earlier_build, in_build
from _processes import cpu_seconds
from _surveys import SURVEYS
from _topics import topics_deleted
from helpers.service import Setup, set_up
from rich.table import Table

from connector.config import Kafka
from connector.sandbox.broker import kafka_broker
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

READY, MEGABYTES, SHARE = 2.0, 100.0, 0.007
_LOOK = 0.01  # seconds
_PATIENCE = 60.0  # seconds for the service to be ready


async def measure_once(setup: Setup, build: Path, settle: float, watch: float) -> dict[str, float]:
    """Starts the service of a build, waits until it is ready, then for `settle` seconds, and watches for `watch`."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *connector("run", setup.file, "--log-level", "info"),
        env={**in_build(build), **setup.environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        ready = await _ready_after(process, began)
        await asyncio.sleep(settle)
        before = cpu_seconds(process) or math.nan
        await asyncio.sleep(watch)
        share = ((cpu_seconds(process) or math.nan) - before) / watch
        return {"ready_s": ready, "megabytes": _resident(process.pid), "share_of_a_core": share}
    finally:
        process.terminate()
        await process.communicate()


async def _ready_after(process: asyncio.subprocess.Process, began: float) -> float:
    output, address = process.stderr or asyncio.StreamReader(), None
    async with asyncio.timeout(_PATIENCE), httpx.AsyncClient(trust_env=False) as http:
        while address is None:
            line = (await output.readline()).decode()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            address = found[0] if found else None
        while (await http.get(f"{address}/readyz")).status_code != httpx.codes.OK:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
    return time.monotonic() - began


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


async def compare(quick: bool) -> _command.Result:
    rounds, settle, watch = (1, 3.0, 10.0) if quick else (3, 60.0, 60.0)
    found: dict[str, list[dict[str, float]]] = {"ours": [], "earlier": []}
    with earlier_build() as earlier:
        builds = {"ours": THIS_BUILD, **({"earlier": earlier} if earlier else {})}
        async with kafka_broker(say=_command.say) as broker:
            kafka = Kafka(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"bench-{secrets.token_hex(3)}.")
            async with topics_deleted(kafka), SalesforceDouble() as salesforce, PisanoDouble() as pisano:
                with tempfile.TemporaryDirectory() as folder:
                    setup = await set_up(
                        Path(folder),
                        kafka.bootstrap_servers,
                        kafka.topic_prefix,
                        salesforce=salesforce,
                        pisano=pisano,
                        surveys=SURVEYS,
                    )
                    for number in range(rounds):
                        for name, build in builds.items():
                            _command.say(f"round {number + 1}: {name} …")
                            found[name].append(await measure_once(setup, build, settle, watch))
    medians = {name: _medians(each) for name, each in found.items() if each}
    claims = _claims(medians["ours"], is_full=not quick)
    ratios = {}
    if "earlier" in medians:
        ratios = {name: value / medians["earlier"][name] for name, value in medians["ours"].items()}
    figures: dict[str, Any] = {"name": "service", **medians, "ratios": ratios, "claims": claims}
    contradictions = [f"{each['claim']}: {each['found']}" for each in claims if not each["holds"] and not quick]
    return _command.Result(figures, _table(medians), contradictions)


def _medians(each: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in each) for name in each[0]}


def _claims(ours: dict[str, float], *, is_full: bool) -> list[dict[str, Any]]:
    """The share of a core is claimed for a full run only: a short watch has too few ticks to tell."""
    wanted = [("ready_s", "ready within (s)", READY), ("megabytes", "memory below (MB)", MEGABYTES)]
    if is_full:
        wanted.append(("share_of_a_core", "share of a core below", SHARE))
    return [
        {"claim": claim, "target": limit, "found": round(ours[name], 4), "holds": ours[name] < limit}
        for name, claim, limit in wanted
    ]


def _table(medians: dict[str, dict[str, float]]) -> Table:
    table = Table("", "ready after", "memory", "share of a core", title="The service with nothing to do")
    for name, figures in medians.items():
        table.add_row(
            name,
            f"{figures['ready_s']:.2f} s",
            f"{figures['megabytes']:.0f} MB",
            f"{figures['share_of_a_core']:.2%}",
        )
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
