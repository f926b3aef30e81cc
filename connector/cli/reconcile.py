"""`connector reconcile`: what Salesforce says, against what the topics hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import timedelta

    from connector.config import Config
    from connector.operate.findings import Findings
    from connector.operate.reconcile import Span

_SHOWN = 5  # ids of a difference in the table; --json has the first 1,000


def reconcile(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    since: Annotated[str, typer.Option(help="How far back to compare: 7d, 12h.")] = "7d",
    grace: Annotated[str, typer.Option(help="What is younger may still be under way, and is not judged.")] = "10m",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare changes, invitations, outcomes, answers and writes, and name what is missing. Changes nothing.

    Exit code 1 if something is missing, 2 if Kafka or Salesforce cannot be asked.
    """
    import asyncio
    import json
    from datetime import UTC, datetime

    from connector.config.file import load
    from connector.errors import ConnectorError, Fatal
    from connector.operate.reconcile import Span

    now = datetime.now(UTC)
    try:
        span = Span(now - _period("--since", since), now - _period("--grace", grace))
    except OverflowError:
        raise Fatal(f"--since {since}, --grace {grace}: there was nothing so long ago") from None
    if span.since >= span.until:
        raise Fatal("--since must be longer than --grace")
    try:
        found = asyncio.run(_compared(load(file), span))
    except ConnectorError as error:
        raise Fatal(str(error)) from error
    if as_json:
        print(json.dumps(_plain(found, span)))
    else:
        _show(found)
    raise typer.Exit(int(bool(found.differences)))


def _period(option: str, text: str) -> "timedelta":
    from datetime import timedelta

    from connector.config.types import seconds
    from connector.errors import Fatal

    try:
        return timedelta(seconds=float(str(seconds(text))))
    except (ValueError, OverflowError) as error:
        raise Fatal(f"{option}: {error}") from error


async def _compared(config: "Config", span: "Span") -> "Findings":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from connector.operate.reconcile import Reconciliation
    from connector.records import Feedback
    from connector.stages._mapping import may_apply, scope_of
    from connector.surveys.lookup import Lookup
    from connector.surveys.reader import Reader
    from connector.wiring.shared import Shared

    def applies(feedback: Feedback) -> list[str]:
        scope, rules = scope_of(feedback, feedback.id), config.feedback.items()
        return [name for name, rule in rules if rule.of == feedback.kind and may_apply(rule, scope)]

    columns = (TextColumn("reading {task.description}"), BarColumn(), TaskProgressColumn())
    screen = Console(stderr=True)
    async with Shared(config) as shared:
        reader = Reader(Lookup(shared.rest.find), Lookup(shared.rest.find_deleted))
        with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
            task = bar.add_task("the topics", total=None)

            def progress(what: str, passed: int, of: int) -> None:
                bar.update(task, description=what, completed=passed, total=of)

            return await Reconciliation(config, span, shared.rest.query, reader, applies, progress).run()


def _show(found: "Findings") -> None:
    from rich.table import Table

    from connector.cli._output import console
    from connector.operate.findings import WHY

    screen = console()
    compared = Table("compared", "of", "count")
    for (what, of), count in sorted(found.compared.items()):
        compared.add_row(what, of, f"{count:,}")
    screen.print(compared)
    if found.differences:
        table = Table("of", "missing", "reason", "ids")
        for one in found.differences.values():
            more = ["…"] if one.count > _SHOWN else []
            ids = "\n".join([*one.ids[:_SHOWN], *more])
            table.add_row(one.of, f"{one.count:,}", f"{one.reason}: {WHY[one.reason]}", ids)
        screen.print(table)
    else:
        print("nothing is missing")
    for note in found.notes:
        print(f"note: {note}")


def _plain(found: "Findings", span: "Span") -> dict[str, object]:
    from connector.operate.findings import WHY

    return {
        "since": span.since.isoformat(),
        "until": span.until.isoformat(),
        "compared": [{"what": what, "of": of, "count": count} for (what, of), count in sorted(found.compared.items())],
        "differences": [{**vars(one), "why": WHY[one.reason]} for one in found.differences.values()],
        "notes": found.notes,
    }
