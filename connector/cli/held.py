"""`connector held`: what waits for a person or for another system."""

from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli._options import DEFAULT, By, ConfigFile

if TYPE_CHECKING:
    from connector.operate.held import Worker
    from connector.records import Settlement

app = typer.Typer(no_args_is_help=True, help="See what is held, and let it be tried again.")

_MOST = 100  # invitations in the list; --json prints all


@app.command("list")
def list_held(
    url: Annotated[
        list[str] | None, typer.Option(help="A worker's address, http://HOST:PORT. May be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """List the held cells of the workers, and the invitations whose outcome is unknown. The exit code is 1 when there
    are some. Without --url, it asks the worker on this machine."""
    import asyncio

    from connector.cli._output import progress_bar
    from connector.config.file import load
    from connector.errors import Fatal
    from connector.operate import held
    from connector.operate.letters import require_kafka

    loaded = load(config)
    urls = url or [held.default_url(loaded)]

    async def find_unknown() -> "list[Settlement]":
        await require_kafka(loaded.kafka)
        with progress_bar("reading") as progress:
            return await held.unknown(loaded, progress)

    workers = asyncio.run(held.workers(urls))
    missing = [worker.error for worker in workers if worker.error]
    unknown: list[Settlement] = []
    try:
        unknown = asyncio.run(find_unknown())
    except Fatal as error:  # the workers say all the more then
        missing.append(str(error))
    (_print_lines if as_json else _print)(workers, unknown)
    if missing:
        raise Fatal("; ".join(missing))
    if unknown or any(worker.cells for worker in workers):
        raise typer.Exit(1)
    if not as_json:
        print("nothing is held")


@app.command("release")
def release(
    cell: Annotated[str, typer.Argument(help="The cell, such as trigger/closed-case.")],
    reason: Annotated[str, typer.Option(help="Why. It is kept with the decision.")] = "",
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Let the workers try a held cell, and the cells in it, at once. It is held again when the try fails."""
    import asyncio

    from connector.cli._output import user
    from connector.config.file import load
    from connector.operate import held
    from connector.operate.letters import require_kafka

    loaded = load(config)

    async def ask() -> str:
        await require_kafka(loaded.kafka)
        return (await held.release(loaded, cell, by=by or user(), reason=reason)).id

    print(f"written down as the action {asyncio.run(ask())}; the workers try {cell} now, if it is held")


@app.command("skip")
def skip(
    cell: Annotated[str, typer.Argument(help="The cell, such as write/response. It includes the cells in it.")],
    reason: Annotated[str, typer.Option(help="Why. It is kept with the decision and the dead letter.")],
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PLACE]...", help="PARTITION/OFFSET on connector.parked.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Without places: skip all that is parked for the cell.")] = False,
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Give up on records that are parked for a held cell: they become dead letters, and the next ones go on. Without
    places and --yes, it only says what is parked."""
    import asyncio

    from connector.cli._output import progress_bar, user
    from connector.config.file import load
    from connector.operate.letters import require_kafka
    from connector.operate.skip import skip

    loaded = load(config)

    async def do() -> int:
        await require_kafka(loaded.kafka)
        with progress_bar("reading") as progress:
            return await skip(loaded, cell, places or [], sure=yes, by=by or user(), reason=reason, progress=progress)

    count = asyncio.run(do())
    if not count:
        print(f"no record is parked for {cell}")
        raise typer.Exit(1)
    print(f"{count} records of {cell} are dead letters now, with the reason skipped; see connector deadletters list")


def _print(workers: "list[Worker]", unknown: "list[Settlement]") -> None:
    cells = [(cell, worker.url, why) for worker in workers for cell, why in worker.cells.items()]
    for cell, url, why in cells:
        print(f"{cell}  ({url})\n  {why}")
    for one in unknown[:_MOST]:
        print(f"invitation {one.invitation} of {one.account}/{one.survey}, record {one.record_id}, {one.at:%F %T} UTC")
        print(f"  the outcome is unknown: {one.detail or ''}")
    if len(unknown) > _MOST:
        print(f"and {len(unknown) - _MOST} more; --json prints all")
    if unknown:
        print("decide with: connector invitations settle ID sent|resend|drop --reason TEXT")


def _print_lines(workers: "list[Worker]", unknown: "list[Settlement]") -> None:
    import json

    for worker in workers:
        for cell, why in worker.cells.items():
            print(json.dumps({"cell": cell, "worker": worker.url, "reason": why}))
    for one in unknown:
        kept = one.model_dump(mode="json", include={"invitation", "account", "survey", "record_id", "detail", "at"})
        print(json.dumps(kept))
