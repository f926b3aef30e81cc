"""`connector replay`: runs a stage again over the records that its topics keep."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli._options import DEFAULT, By, ConfigFile

if TYPE_CHECKING:
    from rich.table import Table

    from connector.config import Config
    from connector.decisions import Action
    from connector.operate.replay import Report, Selection


def replay(
    stage: Annotated[str, typer.Argument(help="trigger, send or write.")],
    begin: Annotated[
        str, typer.Option("--from", help="A time, a period up to now as 7d, [TOPIC/]PARTITION/OFFSET, or earliest.")
    ],
    end: Annotated[str | None, typer.Option("--to", help="The same, not included; without it, up to now.")] = None,
    where: Annotated[str | None, typer.Option(help="A Liquid condition about record, key and headers.")] = None,
    shadow: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="Write to the topics with this prefix instead.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, and count what would come of it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    why: Annotated[str, typer.Option(help="The reason, for those who ask who did it.")] = "",
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Run a stage again over kept records: nobody is e-mailed twice. Exit code 1 if there are dead letters."""
    import asyncio

    from connector.cli._output import user
    from connector.config.file import load
    from connector.masking import mask_emails
    from connector.operate.actions import action_of
    from connector.operate.replay import Report, selection
    from connector.operate.replay_plan import require_shadow

    loaded, report = load(config), Report()
    decision = f"from {begin}" + (f" to {end}" if end else "") + (f" where {mask_emails(where)}" if where else "")
    action = action_of("replay", f"replay/{stage}", decision, by=by or user(), reason=why)
    if shadow is not None:
        require_shadow(loaded, stage, shadow, dry_run=dry_run)

    async def run() -> None:
        chosen = await selection(loaded, stage, begin, end, where)
        if dry_run:
            await _dry(loaded, stage, shadow, chosen, report)
        else:
            await _real(loaded, stage, action, shadow, chosen, report, ask=not yes)

    try:
        asyncio.run(run())
    finally:
        if report.outcomes:  # also after an error: it says how far the replay has come
            _print(report, stage, dry_run=dry_run, as_json=as_json)
    if report.dead:
        raise typer.Exit(1)


async def _dry(config: "Config", stage: str, shadow: str | None, chosen: "Selection", report: "Report") -> None:
    from connector.cli._output import progress_bar
    from connector.operate.replay import replay
    from connector.wiring.replay import dry_run

    with progress_bar("reading") as progress:
        async with dry_run(config, stage, shadow=shadow, progress=progress) as work:
            await replay(chosen, work, report, progress)


async def _real(
    config: "Config",
    stage: str,
    action: "Action",
    shadow: str | None,
    chosen: "Selection",
    report: "Report",
    *,
    ask: bool,
) -> None:
    """What goes to the service's own topics is written down as an action first."""
    import sys

    from connector.cli._output import progress_bar
    from connector.errors import Fatal
    from connector.operate.actions import write
    from connector.operate.replay import count, replay
    from connector.operate.replay_plan import what_will_happen
    from connector.wiring.replay import real_run

    with progress_bar("counting") as progress:
        records = await count(chosen, progress)
    for line in await what_will_happen(config, stage, records, shadow):
        print(line, file=sys.stderr)
    if ask:
        if not sys.stdin.isatty():
            raise Fatal("nothing was written: there is no terminal to ask on; say --yes")
        if not typer.confirm("Go on?", err=True):
            print("nothing was written", file=sys.stderr)
            return
    if shadow is None:
        await write(config, action)
    with progress_bar("replaying") as progress:
        async with real_run(config, stage, shadow=shadow, progress=progress) as work:
            await replay(chosen, work, report, progress)


def _print(report: "Report", stage: str, *, dry_run: bool, as_json: bool) -> None:
    import json

    from connector.cli._output import console

    if as_json:
        print(json.dumps({"stage": stage, "dry_run": dry_run, **_plain(report)}))
        return
    console().print(_table(report))
    copies = f", without {report.copies:,} copies of earlier replays" if report.copies else ""
    print(f"{report.chosen:,} of {report.read:,} records{copies}{'; nothing was written' if dry_run else ''}")


def _plain(report: "Report") -> dict[str, Any]:
    outcomes = [
        {
            "what": what,
            "reason": reason,
            "count": count,
            "examples": [{"place": str(one.place), "id": one.id} for one in examples],
        }
        for what, reason, count, examples in report.rows()
    ]
    return {"read": report.read, "copies": report.copies, "chosen": report.chosen, "outcomes": outcomes}


def _table(report: "Report") -> "Table":
    from rich.table import Column, Table
    from rich.text import Text

    table = Table("what", "reason", Column("how many", justify="right"), "examples")
    for what, reason, count, examples in report.rows():
        said = "\n".join(f"{one.place} {one.id or ''}".rstrip() for one in examples)
        table.add_row(what, reason or "", f"{count:,}", Text(said))
    return table
