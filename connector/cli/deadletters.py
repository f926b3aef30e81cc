"""`connector deadletters`: what the stages gave up on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli._options import DEFAULT, By, ConfigFile

if TYPE_CHECKING:
    from connector.operate.letters import Row, Wanted
    from connector.operate.work_off import Decision

app = typer.Typer(no_args_is_help=True, help="Work off the records that a stage gave up on.")

Places = Annotated[list[str] | None, typer.Argument(metavar="[PLACE]...", help="PARTITION/OFFSET, as in the list.")]
Stage = Annotated[str | None, typer.Option(help="Only letters of this stage.")]
Reason = Annotated[str | None, typer.Option(help="Only letters with this reason, such as write_rejected.")]
Survey = Annotated[str | None, typer.Option(help="Only letters about this survey.")]
Account = Annotated[str | None, typer.Option(help="Only letters about this account of Pisano.")]
Cell = Annotated[str | None, typer.Option(help="Only letters of this cell and the cells in it: write/response.")]
Since = Annotated[str | None, typer.Option(help="Only letters from then on: 2h, 2026-12-31 or 2026-12-31T09:00.")]
Until = Annotated[str | None, typer.Option(help="Only letters until then.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it with all letters that pass the filters.")]

_ERROR = 150  # characters of an error in the list; `show` prints all of it


@app.command("list")
def list_letters(
    stage: Stage = None,
    reason: Reason = None,
    survey: Survey = None,
    account: Account = None,
    cell: Cell = None,
    since: Since = None,
    until: Until = None,
    worked_off: Annotated[bool, typer.Option("--all", help="Also those that are worked off.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1, max=100_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """List dead letters, with addresses masked. The exit code is 1 when there are some."""
    import asyncio
    import json

    from connector.cli._output import progress_bar
    from connector.config.file import load
    from connector.operate.letters import require_kafka, rows

    loaded = load(config)
    wanted = _wanted(stage, reason, survey, account, cell, since, until)

    async def find() -> "tuple[list[Row], int]":
        await require_kafka(loaded.kafka)
        with progress_bar("reading") as progress:
            return await rows(loaded, wanted, limit=limit, worked_off=worked_off, progress=progress)

    found, count = asyncio.run(find())
    if as_json:
        for row in found:
            print(json.dumps(vars(row)))
    else:
        _show_rows(found, count)
    if found:
        raise typer.Exit(1)


@app.command("show")
def show(
    place: Annotated[str, typer.Argument(help="PARTITION/OFFSET, as in the list.")],
    reveal: Annotated[bool, typer.Option(help="Show customers' values.")] = False,
    value: Annotated[bool, typer.Option("--value", help="Print only the value, byte for byte.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Show all of a dead letter. Customers' values are masked."""
    import asyncio
    import sys

    from connector.config.file import load
    from connector.decisions import Action
    from connector.operate.letters import Letter, decisions, letter_at, require_kafka
    from connector.operate.masked import described

    kafka = load(config).kafka

    async def find() -> tuple[Letter, Action | None]:
        await require_kafka(kafka)
        letter = await letter_at(kafka, place)
        return letter, (await decisions(kafka)).about(letter)

    letter, action = asyncio.run(find())
    if value:
        sys.stdout.buffer.write(letter.record.value or b"")
        sys.stdout.flush()
    else:
        print(described(letter, action, reveal=reveal))


@app.command("retry")
def retry(
    places: Places = None,
    stage: Stage = None,
    reason: Reason = None,
    survey: Survey = None,
    account: Account = None,
    cell: Cell = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    why: Annotated[str, typer.Option(help="For those who read the list.")] = "",
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Put records back on the topics that they came from. Their stages work on them again."""
    wanted = _wanted(stage, reason, survey, account, cell, since, until)
    _work_off(config, places, wanted, "retry", yes=yes, by=by, why=why)


@app.command("discard")
def discard(
    why: Annotated[str, typer.Option(help="Why. It is kept with the decision.")],
    places: Places = None,
    stage: Stage = None,
    reason: Reason = None,
    survey: Survey = None,
    account: Account = None,
    cell: Cell = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Note that nothing is to be done about dead letters. They stay on the topic until its retention ends."""
    wanted = _wanted(stage, reason, survey, account, cell, since, until)
    _work_off(config, places, wanted, "discard", yes=yes, by=by, why=why)


def _wanted(
    stage: str | None,
    reason: str | None,
    survey: str | None,
    account: str | None,
    cell: str | None,
    since: str | None,
    until: str | None,
) -> "Wanted":
    from datetime import UTC, datetime

    from connector.operate.letters import Wanted, moment

    now = datetime.now(UTC)
    begin = moment(since, now) if since else None
    return Wanted(stage, reason, survey, account, cell, begin, moment(until, now, is_end=True) if until else None)


def _work_off(
    config: Path,
    places: list[str] | None,
    wanted: "Wanted",
    decision: "Decision",
    *,
    yes: bool,
    by: str | None,
    why: str,
) -> None:
    import asyncio

    from connector.cli._output import progress_bar, user
    from connector.config.file import load
    from connector.errors import Fatal
    from connector.operate.letters import Wanted, require_kafka
    from connector.operate.work_off import Tally, work_off

    if bool(places) == (wanted != Wanted()):
        raise Fatal("name dead letters by their places, or give filters such as --stage and --reason")
    loaded, tally = load(config), Tally()

    async def do() -> None:
        await require_kafka(loaded.kafka)
        with progress_bar("working off") as progress:
            await work_off(
                loaded, places or wanted, decision, sure=yes, by=by or user(), why=why, tally=tally, progress=progress
            )

    try:
        asyncio.run(do())
    finally:
        for line in tally.lines(decision):
            print(line)
    if tally.left:
        raise typer.Exit(1)


def _show_rows(found: "list[Row]", count: int) -> None:
    from connector.operate.masked import printable

    for row in found:
        facts = (row.place, row.at, row.stage, row.reason, row.cell or row.origin, row.key)
        print(printable("  ".join(filter(None, facts))))
        print(f"    {printable(' '.join(row.error.split()))[:_ERROR]}")
        if row.worked_off:
            print(f"    {printable(row.worked_off)}")
    more = f", the newest {len(found)} of them above; --limit shows more" if count > len(found) else ""
    print(f"{count} dead letters{more}" if count else "no dead letters")
