"""`connector invitations`: what only a person can decide about invitations."""

from typing import Annotated, Literal

import typer

from connector.cli._options import DEFAULT, By, ConfigFile

app = typer.Typer(no_args_is_help=True, help="Decide about invitations that wait for a person.")

Reason = Annotated[str, typer.Option(help="Why you decide so. It is kept with the outcome.")]


@app.command("settle")
def settle(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The invitation's id.")],
    decision: Annotated[Literal["sent", "resend", "drop"], typer.Argument(help="What became, or shall become, of it.")],
    reason: Reason,
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Settle an invitation whose outcome is unknown: it was sent, shall be sent again, or never."""
    from connector.cli._kafka import with_kafka
    from connector.cli._output import user
    from connector.config.file import load
    from connector.operate import actions

    loaded = load(config)
    action = with_kafka(loaded.kafka, lambda: actions.settle(loaded, id_, decision, by=by or user(), reason=reason))
    print(f"written down as the action {action.id}; the account's sender carries it out once")


@app.command("brake")
def brake(
    survey: Annotated[str, typer.Argument(help="The survey that its brake holds.")],
    decision: Annotated[Literal["release", "drop", "spread"], typer.Argument(help="What happens to what waits.")],
    reason: Reason,
    days: Annotated[float, typer.Option(help="For spread: over how many days, 0.1 to 30.")] = 1.0,
    by: By = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Decide about what a survey's brake holds: send it, never send it, or send it over some days."""
    from connector.cli._kafka import with_kafka
    from connector.cli._output import user
    from connector.config.file import load
    from connector.operate import actions

    loaded = load(config)
    action = with_kafka(
        loaded.kafka, lambda: actions.brake(loaded, survey, decision, days, by=by or user(), reason=reason)
    )
    print(f"written down as the action {action.id}")
