"""`connector positions`: where capture resumes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli._options import DEFAULT, By, ConfigFile

if TYPE_CHECKING:
    from datetime import timedelta

    from connector.config import Config
    from connector.operate.positions import Channel

app = typer.Typer(no_args_is_help=True, help="Where the channels resume: show it, set it.")


@app.command("show")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Show each channel's position, and its age against the 72 h that Salesforce keeps events.

    Exit code 1 if Salesforce does not know one any more, or one cannot be read.
    """
    import asyncio
    import json
    from datetime import UTC, datetime

    from connector.cli._output import console
    from connector.config.file import load
    from connector.operate.positions import positions

    loaded = load(config)
    found = asyncio.run(positions(loaded, datetime.now(UTC)))
    if as_json:
        print(json.dumps({"channels": [_plain(one) for one in found]}))
    else:
        console().print(_table(loaded, found))
    if any(one.is_lost for one in found):
        raise typer.Exit(1)


@app.command("set")
def set_to(
    channel: Annotated[str, typer.Argument(help="Such as /data/CaseChangeEvent.")],
    to: Annotated[
        str, typer.Option("--to", help="earliest, a replay id in hex, a time, or a period up to now such as 12h.")
    ],
    why: Annotated[str, typer.Option(help="The reason, for those who ask who did it.")] = "",
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Make capture resume elsewhere. Refused while a worker follows the channel."""
    import asyncio
    from datetime import UTC, datetime

    from connector.cli._output import progress_bar, user
    from connector.config.file import load
    from connector.operate.positions import set_position

    loaded = load(config)
    with progress_bar("reading change events") as progress:
        setting = set_position(loaded, channel, to, datetime.now(UTC), by=by or user(), why=why, progress=progress)
        position = asyncio.run(setting)
    behind = f"behind the replay id {position.replay_id}" if position.replay_id else "with the earliest event"
    print(
        f"{channel} goes on {behind} when capture starts. Events that come again make the same invitations, which are"
        " not sent again."
    )


def _table(config: "Config", found: "list[Channel]") -> Any:
    from rich.table import Table

    table = Table("channel", "position", "written (UTC)", "age, of 72 h", "captured now")
    for one in found:
        at = f"{one.position.at:%F %T}" if one.position else ""
        age = f"{_hours(one.age):.1f} h{', lost' if one.is_lost else ''}" if one.age is not None else ""
        followed = {True: "yes", False: "no", None: "changing"}[one.followed]
        table.add_row(one.name, _position(config, one), at, age, followed if one.configured else "not configured")
    return table


def _position(config: "Config", one: "Channel") -> str:
    if one.position is not None:
        return one.position.replay_id or "earliest"
    if one.place is not None:
        return f"cannot be read ({one.place}); set one"
    return f"none yet: begins with the {config.salesforce.pubsub.start} event"


def _hours(age: "timedelta") -> float:
    return age.total_seconds() / 3600


def _plain(one: "Channel") -> dict[str, Any]:
    return {
        "channel": one.name,
        "replay_id": one.position and one.position.replay_id,
        "written_at": one.position and one.position.at.isoformat(),
        "age_hours": None if one.age is None else round(_hours(one.age), 3),
        "lost": one.is_lost,
        "followed": one.followed,
        "configured": one.configured,
    }
