"""`connector run`: the service."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from connector.config import Config

_COLLECT_AFTER = 50_000  # new objects, some 10 MB; after 10,000 a busy stage would look for a seventh of its time


def run(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    stages: Annotated[
        str, typer.Option(help="Which stages to run, separated by commas; index is optional.")
    ] = "capture,trigger,send,receive,write",
    processes: Annotated[
        int,
        typer.Option(
            min=1, help="How many processes share the webhooks' port, with --stages receive: docs/webhook.md."
        ),
    ] = 1,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="The lowest level to log.")
    ] = "info",
) -> None:
    """Run the service. SIGTERM or Ctrl-C drains and stops it. Exit code 2 means that nobody can run this file."""
    import gc

    gc.disable()  # until the configuration is read there is no garbage, and looking for it takes a tenth of the start
    import multiprocessing
    import os
    import signal

    import structlog

    from connector.cli._leaving import run_and_leave
    from connector.cli._processes import hear_signals
    from connector.config.file import load
    from connector.observe import logs
    from connector.observe.tracing import tracing
    from connector.wiring import App

    chosen = _chosen(stages, processes)
    warnings: list[str] = []
    config = load(file, warn=warnings.append)
    gc.collect()
    gc.freeze()  # what the imports made stays, so the collector need not look at it again
    gc.set_threshold(_COLLECT_AFTER)
    gc.enable()
    logs.set_up(log_level)
    log = structlog.get_logger("connector")
    for warning in warnings:
        log.warning("hardly_meant", reason=warning)

    async def serve(config: "Config", own_port: int | None) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        hear_signals()
        if parent := multiprocessing.parent_process():
            loop.add_reader(parent.sentinel, stop.set)
        async with App(config, chosen, own_port=own_port) as app:
            one_of_several = {"figures": app.figures, "pid": os.getpid()} if parent else {}
            log.info("started", stages=chosen, address=app.address, **one_of_several)
            await app.run(stop)
            if parent:
                loop.remove_reader(parent.sentinel)  # it stays readable
            log.info("draining", seconds=config.service.drain)
        log.info("stopped")

    def run_here(config: "Config", own_port: int | None = None) -> None:
        tracing.set_up()
        try:
            run_and_leave(serve(config, own_port), _loop_factory(chosen))
        finally:
            tracing.stop()

    if processes == 1:
        run_here(config)
    else:
        _run_several(config, processes, run_here)


def _chosen(stages: str, processes: int) -> list[str]:
    from connector.errors import Fatal
    from connector.wiring import ALL_STAGES

    chosen = list(dict.fromkeys(stage.strip() for stage in stages.split(",")))
    if unknown := [stage for stage in chosen if stage not in ALL_STAGES]:
        raise Fatal(f"there is no stage {', '.join(map(repr, unknown))}; the stages are {', '.join(ALL_STAGES)}")
    if processes > 1 and chosen != ["receive"]:
        raise Fatal(
            "--processes is for --stages receive alone. Start `connector run` several times for the other stages:"
            " Kafka gives each process its share of the partitions."
        )
    return chosen


def _run_several(config: "Config", count: int, run_here: Callable[["Config", int], None]) -> None:
    """Shares the service's port among the processes, and gives each the next port after it for its own pages."""
    import sys

    from connector.cli._processes import run_processes
    from connector.observe.health import reserved

    with reserved(config.service) as held:
        picked, port = config.service.port == 0, held.getsockname()[1]
        shared = config.model_copy(update={"service": config.service.model_copy(update={"port": port})})
        sys.exit(run_processes(lambda number: run_here(shared, 0 if picked else port + number), count))


def _loop_factory(stages: list[str]) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's for a process with one stage that gains by it: benchmarks/README.md."""
    if stages not in (["receive"], ["trigger"]):
        return None
    import uvloop

    return uvloop.new_event_loop
