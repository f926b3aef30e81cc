"""Claim: 20 open pages of the console cost the service nothing, and the console less than 10 % of a core.

The demo goes on beside a console. 20 clients hold the overview open, as pages do, and read all that it sends. The CPU
time of the service's process (with the doubles, which rest) and of the console is measured without pages, with them,
and without them again, for the same time. "Nothing" means: less than 1 % of a core above the mean of the two times
without.

    benchmarks/console.py           a minute each
    benchmarks/console.py --quick   ten seconds each
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import _command
import httpx
from _processes import cpu_seconds
from helpers.kept_demo import Kept, Running, kept_demo, process
from rich.table import Table

from connector.errors import Fatal
from connector.sandbox.broker import kafka_broker

PAGES = 20
_SETTLES = 5.0  # seconds after a change before the time is measured
_MOST_OF_A_CORE, _NOTHING = 0.10, 0.01


async def measured(quick: bool) -> _command.Result:
    """Starts the demo and a console beside it, and compares."""
    seconds = 10.0 if quick else 60.0
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(kafka_broker(say=_command.say))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        demo = await stack.enter_async_context(kept_demo(broker.bootstrap_servers, place))
        command = ["console", demo.file, "--port", "0"]
        console = await stack.enter_async_context(process(command, demo.environment, place))
        address = (await console.wait_for("the console is at")).split()[4].rstrip(";")
        before = await _shares(demo, console, seconds)
        async with _open_pages(address) as received:
            during = await _shares(demo, console, seconds)
        if min(received) == 0:
            raise Fatal("a page got nothing")
        after = await _shares(demo, console, seconds)
    return _result(before, during, after, sum(received), seconds)


async def _shares(demo: Kept, console: Running, seconds: float) -> tuple[float, float]:
    """The shares of a core that the service and the console take."""
    await asyncio.sleep(_SETTLES)
    begun, first = time.monotonic(), (cpu_seconds(demo), cpu_seconds(console))
    await asyncio.sleep(seconds)
    last, took = (cpu_seconds(demo), cpu_seconds(console)), time.monotonic() - begun
    if None in {*first, *last}:
        raise Fatal("this system does not tell how much CPU time a process takes")
    service, page = ((end or 0.0) - (start or 0.0) for start, end in zip(first, last, strict=True))
    return service / took, page / took


@asynccontextmanager
async def _open_pages(address: str) -> AsyncIterator[list[int]]:
    received = [0] * PAGES

    async def page(number: int) -> None:
        limits = httpx.Timeout(10.0, read=60.0)
        async with httpx.AsyncClient(base_url=address, timeout=limits, trust_env=False) as http:
            (await http.get("/")).raise_for_status()
            async with http.stream("GET", "/live", params={"page": "overview-1h"}) as stream:
                async for piece in stream.aiter_bytes():
                    received[number] += len(piece)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(page(number)) for number in range(PAGES)]
        yield received
        for task in tasks:
            task.cancel()


def _result(
    before: tuple[float, float], during: tuple[float, float], after: tuple[float, float], received: int, seconds: float
) -> _command.Result:
    rest = (before[0] + after[0]) / 2
    table = Table("", "the service", "the console", title=f"share of a core, over {seconds:g} s each")
    rows = {"no page": before, f"{PAGES} pages": during, "no page again": after}
    for name, shares in rows.items():
        table.add_row(name, *(f"{100 * share:.1f} %" for share in shares))
    table.caption = f"each page got {received / PAGES / seconds / 1024:.1f} KB/s"
    more = during[0] - rest
    claims = [
        ("the console's share of a core", during[1], _MOST_OF_A_CORE),
        ("what the pages add to the service's share of a core", more, _NOTHING),
    ]
    figures = {
        "claims": [
            {"claim": what, "target": f"below {most:.0%}", "found": f"{share:.1%}", "holds": share < most}
            for what, share, most in claims
        ],
        "pages": PAGES,
        "seconds": seconds,
        "service": {"without": rest, "with": during[0]},
        "console": {"without": (before[1] + after[1]) / 2, "with": during[1]},
        "bytes_per_page_and_second": received / PAGES / seconds,
    }
    wrong = [f"{what} is {share:.1%}" for what, share, most in claims if share >= most]
    return _command.Result(figures, table, wrong)


if __name__ == "__main__":
    _command.main(__doc__ or "", lambda quick: asyncio.run(measured(quick)))
