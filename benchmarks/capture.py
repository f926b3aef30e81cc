"""Measures how fast capture stores change events in Kafka, near to Salesforce and far from it, and what that costs.

Claims: from one stream at least 8,000 events a second, 3 times the earlier build and 0.6 of a bare loop, at no more
than a third of the earlier build's CPU time; far away at least 0.95 of what the window of 100 events allows, which is
100 per round trip and stream, until the core is full.

The stage runs as its own process on a real broker (KAFKA_BOOTSTRAP_SERVERS, or one that the script starts), the double
of Salesforce in another. A backlog waits when the stage starts; its rate counts from the first look at its metrics that
finds events to the last before the end. For the distance, a proxy passes each byte on half a round trip later.

The bare loop (grpc.aio, fastavro, orjson, aiokafka) reads the same events and commits 500 in a transaction. It keeps
no position, makes no REST names and has no CloudEvents headers. The runs take turns, and the median of each counts.
At last, changes come at 1, 10 and 100 times a rate: p99 is from the change until a reader of committed records has it.
"""

import asyncio
from statistics import median
from typing import Any

import _command
from _builds import THIS_BUILD, earlier_build
from _capture_runs import Load, bare_loop, double_alone, latency, throughput
from rich.table import Table

from connector.sandbox.broker import kafka_broker

LEAST_PER_SECOND, LEAST_OF_EARLIER, LEAST_OF_FLOOR, MOST_CPU, LEAST_OF_BOUND = 8_000.0, 3.0, 0.6, 1 / 3, 0.95
WINDOW = 100  # events that a client may be owed (salesforce §A2)
RATE = 50.0  # changes a second at a load of 1
_EARLIER_SHARE = 3  # the earlier build gets a third of the events, as it takes three times as long

Figures = dict[str, float]


async def near(servers: str, count: int, rounds: int) -> dict[str, Figures]:
    runs: dict[str, list[Figures]] = {"ours": [], "floor": [], "earlier": []}
    with earlier_build() as build:
        if build is None:
            _command.say("the history does not have the earlier build, so the ratios to it are left out")
        for number in range(rounds):
            _command.say(f"near, round {number + 1} of {rounds} …")
            runs["floor"].append(await bare_loop(servers, Load(count)))
            runs["ours"].append(await throughput(THIS_BUILD, servers, Load(count)))
            if build is not None:
                runs["earlier"].append(await throughput(build, servers, Load(count // _EARLIER_SHARE)))
    return {name: _medians(figures) for name, figures in runs.items() if figures}


def _medians(runs: list[Figures]) -> Figures:
    return {name: median(run[name] for run in runs) for name in runs[0]}


async def far(servers: str, rtt: float, streams: int, seconds: float) -> dict[str, float]:
    bound = WINDOW / rtt * streams
    _command.say(f"{rtt * 1e3:.0f} ms away, {streams} streams …")
    found = await throughput(THIS_BUILD, servers, Load(int(WINDOW / rtt * seconds), streams, rtt))
    return {"rtt_ms": rtt * 1e3, "streams": streams, "of_bound": found["per_second"] / bound, **found}


async def steady(servers: str, load: int, seconds: float) -> dict[str, float]:
    _command.say(f"{RATE * load:g} changes a second …")
    return {"load": load, **await latency(servers, Load(int(RATE * load * seconds), per_second=RATE * load))}


async def compare(quick: bool) -> _command.Result:
    async with kafka_broker(say=_command.say) as broker:
        servers = broker.bootstrap_servers
        found: dict[str, Any] = {"name": "capture", "broker": broker.way}
        found |= await near(servers, 9_000 if quick else 40_000, 1 if quick else 3)
        found["double_alone"] = await double_alone(Load(9_000 if quick else 40_000))
        places = [(0.1, 1)] if quick else [(rtt, streams) for rtt in (0.05, 0.1) for streams in (1, 2, 4)]
        found["far"] = [await far(servers, rtt, streams, 4 if quick else 10) for rtt, streams in places]
        loads = (10,) if quick else (1, 10, 100)
        found["series"] = [await steady(servers, load, 3 if quick else 10) for load in loads]
    found["ratios"] = _ratios(found)
    found["claims"] = _claims(found)
    broken = [f"{claim['claim']}: {claim['found']:.2f}" for claim in found["claims"] if not claim["holds"]]
    return _command.Result(found, _table(found), [] if quick else broken)


def _ratios(found: dict[str, Any]) -> Figures:
    ours = found["ours"]
    ratios = {"of_floor": ours["per_second"] / found["floor"]["per_second"]}
    if earlier := found.get("earlier"):
        ratios["of_earlier"] = ours["per_second"] / earlier["per_second"]
        ratios["cpu_of_earlier"] = ours["cpu_per_1000"] / earlier["cpu_per_1000"]
    return ratios


def _claims(found: dict[str, Any]) -> list[dict[str, Any]]:
    ratios = found["ratios"]
    claims = [
        _at_least("events a second from one stream", LEAST_PER_SECOND, found["ours"]["per_second"]),
        _at_least("share of the bare loop", LEAST_OF_FLOOR, ratios["of_floor"]),
    ]
    if "of_earlier" in ratios:
        cpu = ratios["cpu_of_earlier"]
        claims.append(_at_least("times the earlier build", LEAST_OF_EARLIER, ratios["of_earlier"]))
        claims.append(
            {"claim": "CPU time of the earlier build's", "target": MOST_CPU, "found": cpu, "holds": cpu <= MOST_CPU}
        )
    for place in found["far"]:
        what = f"share of the window's bound, {place['rtt_ms']:.0f} ms, streams: {place['streams']}"
        is_full = place["core"] > 0.9 and place["streams"] > 1  # then the core is the bound
        claims.append(_at_least(what, 0.0 if is_full else LEAST_OF_BOUND, place["of_bound"]))
    return claims


def _at_least(claim: str, target: float, found: float) -> dict[str, Any]:
    return {"claim": claim, "target": target, "found": found, "holds": found >= target}


def _table(found: dict[str, Any]) -> Table:
    table = Table("", "events/s", "CPU s per 1,000", "", title="Change events into Kafka")
    for name in ("ours", "floor", "earlier", "double_alone"):
        if figures := found.get(name):
            ratio = {"floor": "of_floor", "earlier": "of_earlier"}.get(name)
            note = f"ours is {found['ratios'][ratio]:.2f} of it" if ratio else ""
            table.add_row(
                name.replace("_", " "), f"{figures['per_second']:,.0f}", f"{figures['cpu_per_1000']:.3f}", note
            )
    for place in found["far"]:
        name = f"{place['rtt_ms']:.0f} ms away, streams: {place['streams']}"
        note = f"{place['of_bound']:.2f} of the window's bound, {place['core']:.2f} of a core"
        table.add_row(name, f"{place['per_second']:,.0f}", f"{place['cpu_per_1000']:.3f}", note)
    for step in found["series"]:
        table.add_row(
            f"steadily, {RATE * step['load']:,.0f}", f"{step['per_second']:,.0f}", "", f"p99 {step['p99_ms']:.0f} ms"
        )
    return table


if __name__ == "__main__":
    _command.main(__doc__, lambda quick: asyncio.run(compare(quick)))
