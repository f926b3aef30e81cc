"""`connector person`: what the topics hold about a person, and its erasure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from connector.cli._options import DEFAULT, By, ConfigFile

if TYPE_CHECKING:
    from connector.operate.erasure import Erasure, Stays

app = typer.Typer(no_args_is_help=True, help="Export or erase what is known of a person (GDPR, KVKK).")

Whom = Annotated[
    str,
    typer.Argument(help="An e-mail address, a phone number such as +905330000000, or a contact's id in Salesforce."),
]

Sharing = Annotated[
    Literal["same", "other"] | None,
    typer.Option(help="Whether contacts that share an address are the same person, or other people."),
]


@app.command("export")
def export(
    whom: Whom,
    sharing: Sharing = None,
    output: Annotated[Path | None, typer.Option(help="Write to this new file, which only you may read.")] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Print every record about a person, one JSON object a line, with values as they are. The exit code is 1 when there
    is none."""
    import asyncio
    import os
    import sys
    from contextlib import nullcontext

    from connector.cli._output import progress_bar
    from connector.config.file import load
    from connector.errors import Fatal
    from connector.operate import person
    from connector.operate.letters import require_kafka
    from connector.values import exact

    loaded = load(config)
    person.person_of(whom)  # before the file is made
    try:
        file = output and os.fdopen(os.open(output, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise Fatal(f"{output} cannot be written: {error}") from error

    async def find() -> int:
        count = 0
        await require_kafka(loaded.kafka)
        with progress_bar("reading the topics") as progress, file or nullcontext(sys.stdout.buffer) as lines:
            found = await person.leads(loaded, whom, progress, sharing=sharing)
            async for record in person.records(loaded, found, progress):
                lines.write(exact.dumps(person.plain(record)) + b"\n")
                count += 1
            lines.flush()
        return count

    try:
        count = asyncio.run(find())
    except BaseException as error:
        if output:  # a part would be taken for the whole, and the next try would not replace it
            output.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Fatal(f"the records cannot be written: {error}") from error
        raise
    print(f"{count} records", file=sys.stderr)
    if not count:
        raise typer.Exit(1)


@app.command("erase")
def erase(
    whom: Whom,
    sharing: Sharing = None,
    why: Annotated[str, typer.Option(help="Why, without the person's name. It is kept.")] = "erased on request",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it. Without this, the command only says what it would do.")
    ] = False,
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Erase a person, who is never invited again. Says what Kafka keeps, and until when. Exit code 1: without --yes."""
    import asyncio

    from connector.cli._output import progress_bar, user, warn
    from connector.config.file import load
    from connector.operate import erasure
    from connector.operate.letters import require_kafka

    loaded = load(config)

    async def do() -> "Erasure":
        await require_kafka(loaded.kafka)
        with progress_bar("reading the topics") as progress:
            planned = await erasure.plan(loaded, whom, by=by or user(), why=why, sharing=sharing, progress=progress)
        if yes:
            await erasure.carry_out(loaded, planned)
        return planned

    done = asyncio.run(do())
    if loaded.protect.hash_key is None:
        warn("protect.hash_key is not set, so whoever knows an address can tell from its hash that it was erased")
    for line in _lines(done):
        print(line)
    if not yes:
        print("nothing was done; --yes does it")
        raise typer.Exit(1)
    print("done: senders know it within a second")


def _lines(erasure: "Erasure") -> list[str]:
    from connector.masking import mask_email, mask_emails

    who = erasure.found.person
    names = [*map(mask_email, sorted(who.addresses)), *map(mask_emails, sorted(who.contacts))]
    return [
        f"the person is {', '.join(names)}; {erasure.total} records are about the person",
        f"never invited again, by hash: {len(erasure.entries)} entries of the suppression list",
        f"entries of the suppression list with an address or a contact's id, removed: {len(erasure.ends)}",
        f"waiting invitations, ended by the account's sender: {len(erasure.waiting)}",
        f"writes, emptied of their values: {len(erasure.writes)}",
        *map(_kept, erasure.stays),
    ]


def _kept(stays: "Stays") -> str:
    count = f"{stays.topic}: {stays.records} records"
    if stays.hashes_only:
        end = f" until {stays.until:%F}" if stays.until else " for good"
        return f"{count} with hashes and ids only stay{end}: they keep the person from being invited twice"
    if stays.is_replaced:
        when = (
            f"by {stays.until:%F}"
            if stays.until
            else "when Kafka compacts the topic; max.compaction.lag.ms sets a time"
        )
        return f"{count}: what was replaced is gone {when}"
    return f"{count} stay until {stays.until:%F} at the latest" if stays.until else f"{count} stay: retention.ms is -1"
