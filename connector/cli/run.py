"""`connector run`: the service."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

_COLLECT_AFTER = 10_000  # new objects; with Python's 700 a busy stage would spend a twentieth of its time in looking


def run(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    stages: Annotated[
        str, typer.Option(help="Which stages to run, separated by commas; index is optional.")
    ] = "capture,trigger,send,receive,write",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="The lowest level to log.")
    ] = "info",
) -> None:
    """Run the service. SIGTERM or Ctrl-C drains and stops it. Exit code 2 means that nobody can run this file."""
    import gc

    gc.disable()  # while modules are imported there is no garbage, and looking for it takes a tenth of the start
    import signal

    import structlog

    from connector.config.file import load
    from connector.errors import Fatal
    from connector.observe import logs
    from connector.observe.tracing import tracing
    from connector.wiring import ALL_STAGES, App

    gc.enable()
    chosen = list(dict.fromkeys(stage.strip() for stage in stages.split(",")))
    if unknown := [stage for stage in chosen if stage not in ALL_STAGES]:
        raise Fatal(f"there is no stage {', '.join(map(repr, unknown))}; the stages are {', '.join(ALL_STAGES)}")
    warnings: list[str] = []
    config = load(file, warn=warnings.append)
    gc.collect()
    gc.freeze()  # what the imports made stays, so the collector need not look at it again
    gc.set_threshold(_COLLECT_AFTER)
    logs.set_up(log_level)
    tracing.set_up()
    log = structlog.get_logger("connector")
    for warning in warnings:
        log.warning("hardly_meant", reason=warning)

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with App(config, chosen) as app:
            log.info("started", stages=chosen, address=app.address)
            await app.run(stop)
            log.info("draining", seconds=config.service.drain)
        log.info("stopped")

    try:
        with asyncio.Runner(loop_factory=_loop_factory(chosen)) as runner:
            runner.run(serve())
    finally:
        tracing.stop()


def _loop_factory(stages: list[str]) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's for a process that only takes webhooks. The other stages gain nothing by it."""
    if stages != ["receive"]:
        return None
    import uvloop

    return uvloop.new_event_loop
