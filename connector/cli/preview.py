"""`connector preview`: what a survey would do with a change, or why it would do nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from connector.config import Config
    from connector.operate.forecast import Forecast, Load
    from connector.operate.preview import Preview, Ready


def preview(
    survey: Annotated[str, typer.Argument(help="The survey's name; with --since, `all`.")],
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    record: Annotated[
        Path | None, typer.Option(help="A JSON file with the record's fields, or with record, changed and lookups.")
    ] = None,
    record_id: Annotated[str | None, typer.Option("--id", help="The record's Id, read from Salesforce.")] = None,
    event: Annotated[str | None, typer.Option(help="PARTITION/OFFSET of a change event on its topic.")] = None,
    since: Annotated[
        str | None, typer.Option(help="All surveys over the kept change events of this time, as 7d.")
    ] = None,
    changed: Annotated[str | None, typer.Option(help="For --id: the fields that changed, with commas.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a survey would do with one change: conditions, lookups, addresses, the call's body. Sends nothing."""
    import asyncio
    import dataclasses
    import json
    from datetime import UTC, datetime

    from connector.config.file import load
    from connector.config.scope import one_of
    from connector.errors import Fatal
    from connector.operate import changes
    from connector.operate.letters import require_kafka
    from connector.operate.preview import Preview
    from connector.operate.preview import preview as look
    from connector.operate.protections import protected
    from connector.wiring.shared import Shared

    if sum(way is not None for way in (record, record_id, event, since)) != 1:
        raise Fatal("name one of --record FILE, --id ID, --event PARTITION/OFFSET and --since TIME")
    config = load(file)
    if since is not None:
        asyncio.run(_forecast(config, since, as_json=as_json))
        return
    if survey not in config.surveys:
        raise Fatal(f"there is no survey {survey} in {file}; {one_of(survey, config.surveys)}")
    chosen = config.surveys[survey]
    phones = config.pisano[chosen.account].phones

    async def find_out() -> Preview:
        async with Shared(config) as shared:
            given: changes.Given = {}
            if record is not None:
                change, given = changes.from_file(record, chosen)
            elif record_id is not None:
                fields = [name.strip() for name in changed.split(",")] if changed else None
                change = await changes.from_salesforce(record_id, chosen, fields, shared.rest.find)
            else:
                await require_kafka(config.kafka)
                change = await changes.from_topic(config, chosen, event or "")
            found = await look(survey, chosen, change, shared.rest.find, shared.rest.find_deleted, given, phones)
        ready = await protected(config, chosen.account, found.invitations, datetime.now(UTC))
        return dataclasses.replace(found, invitations=ready)

    found = asyncio.run(find_out())
    if as_json:
        print(json.dumps(dataclasses.asdict(found), default=_plain))
    else:
        _show(found)


async def _forecast(config: "Config", since: str, *, as_json: bool) -> None:
    import json
    from datetime import UTC, datetime, timedelta

    from connector.cli._output import console
    from connector.config.types import seconds
    from connector.errors import Fatal
    from connector.operate.forecast import forecast
    from connector.operate.letters import require_kafka
    from connector.surveys.lookup import Lookup
    from connector.surveys.reader import Reader
    from connector.wiring.shared import Shared

    try:
        begin = datetime.now(UTC) - timedelta(seconds=float(str(seconds(since))))
    except (ValueError, OverflowError) as error:
        raise Fatal(f"--since: {error}") from error
    await require_kafka(config.kafka)
    async with Shared(config) as shared:
        reader = Reader(Lookup(shared.rest.find), Lookup(shared.rest.find_deleted))
        surveys, loads = await forecast(config, reader, begin)
    if as_json:
        print(json.dumps({"surveys": [*map(vars, surveys)], "accounts": [*map(vars, loads)]}))
        return
    for table in _tables(surveys, loads):
        console().print(table)


def _tables(surveys: "list[Forecast]", loads: "list[Load]") -> "list[Table]":
    from rich.table import Table

    first = Table("survey", "changes", "invited", "of them later", "not invited", "dead letters")
    for one in surveys:
        counts = (", ".join(f"{key} {count}" for key, count in each.most_common()) for each in one.counters())
        first.add_row(one.survey, str(one.events), str(one.invited), *counts)
    second = Table("account", "invitations", "calls", "hours at its limits")
    for load in loads:
        second.add_row(load.account, str(load.invitations), str(load.calls), f"{load.hours:.1f}")
    return [first, second]


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def _show(found: "Preview") -> None:
    event = found.event
    print(f"{event.change_type} of {event.entity} {event.record_id}, changed: {', '.join(event.changed_fields) or '-'}")
    for part in found.conditions:
        sign = {True: "✓", False: "✗", None: "?"}[part.holds]
        values = ", ".join(f"{name} is {value!r}" for name, value in part.values.items())
        print(f"  {sign} {part.text}   {part.why or values}")
    for reading in found.readings:
        where = " in the recycle bin" if reading.deleted else ""
        print(f"  read {reading.object} by {reading.by} {', '.join(map(str, reading.values))}{where}: ", end="")
        print("; ".join(str(row) for row in reading.rows) or "no such record")
    for name, why in found.missing.items():
        print(f"  {name} is missing: {why}")
    if found.refused:
        print(f"no invitation, and the change becomes a dead letter or holds the survey: {found.refused}")
    elif not found.invitations:
        print("no invitation: the condition does not hold")
    for ready in found.invitations:
        _show_invitation(ready)


def _show_invitation(ready: "Ready") -> None:
    import json

    invitation, body = ready.invitation, ready.body
    if body is None:
        print(f"not invited ({invitation.suppressed}): {invitation.address or 'no address'} {invitation.detail or ''}")
        return
    print(f"would be invited to campaign {invitation.campaign} of account {invitation.account}:")
    print(f"  contact protection: {ready.protection}")
    if invitation.detail:
        print(f"  {invitation.detail}")
    print(json.dumps(body, indent=2, ensure_ascii=False))
