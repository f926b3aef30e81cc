"""`connector suppress`: whom no survey invites."""

from pathlib import Path
from typing import Annotated

import typer

from connector.cli._options import DEFAULT, By, ConfigFile

app = typer.Typer(no_args_is_help=True, help="The suppression list: add, remove, list and import its entries.")

Whom = Annotated[
    str,
    typer.Argument(help="An e-mail address, a phone number such as +905330000000, or a contact's id in Salesforce."),
]
Survey = Annotated[str | None, typer.Option(help="Only this survey; without it, every survey.")]


@app.command("add")
def add(
    whom: Whom,
    survey: Survey = None,
    until: Annotated[str | None, typer.Option(help="A day or a time; without it, for ever.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason, for those who read the list.")] = None,
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Put somebody on the list."""
    from connector.cli._kafka import with_kafka
    from connector.cli._output import user
    from connector.config.file import load
    from connector.operate import suppressions

    end = suppressions.moment(until) if until else None
    loaded = load(config)
    entry = suppressions.new_entry(loaded, whom, survey=survey, until=end, why=why, by=by or user())
    with_kafka(loaded.kafka, lambda: suppressions.write(loaded.kafka, [entry]))
    print("added; senders know it within a second")


@app.command("remove")
def remove(
    whom: Whom,
    survey: Survey = None,
    why: Annotated[str | None, typer.Option(help="The reason, for those who ask who did it.")] = None,
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Take somebody from the list. An entry for one survey is removed by naming the survey.

    The console's audit trail shows who did it.
    """
    from connector.cli._kafka import with_kafka
    from connector.cli._output import user
    from connector.config.file import load
    from connector.operate import suppressions

    loaded = load(config)
    with_kafka(loaded.kafka, lambda: suppressions.remove(loaded, whom, survey, by=by or user(), why=why))
    print("removed")


@app.command("list")
def list_entries(
    show: Annotated[bool, typer.Option("--show", help="Print addresses and hashes in full.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """List the entries; addresses are masked, also in reasons."""
    from rich.table import Table
    from rich.text import Text

    from connector.cli._kafka import with_kafka
    from connector.cli._output import console
    from connector.config.file import load
    from connector.masking import mask_emails
    from connector.operate import suppressions

    table = Table("who", "survey", "until", "by", "why")
    kafka = load(config).kafka
    for entry in with_kafka(kafka, lambda: suppressions.entries(kafka)):
        who, why = entry.whom, entry.why or ""
        if not show:
            who, why = suppressions.masked(entry), mask_emails(why)
        until = f"{entry.until:%F %R}" if entry.until else "for ever"
        # what people and other systems wrote: rich would read `[…]` in it as markup
        table.add_row(*map(Text, (who, entry.survey or "every", until, entry.by, why)))
    console().print(table)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A CSV file with columns: email, phone, contact, survey, until, why.")],
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Put everybody in a CSV file on the list. If a line cannot be used, nothing is written.

    Each line names one person by one of the columns email, phone and contact.
    """
    from connector.cli._kafka import with_kafka
    from connector.cli._output import user
    from connector.config.file import load
    from connector.operate import suppressions

    loaded = load(config)
    entries = list(suppressions.from_csv(loaded, file, by or user()))
    with_kafka(loaded.kafka, lambda: suppressions.write(loaded.kafka, entries))
    print(f"added {len(entries)}")
