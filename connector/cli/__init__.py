"""The command line: one file per command.

Each command imports what it needs when it is called, so that --help is quick. To add one, add an import and a line
below.
"""

import typer

from connector.cli import (
    acls,
    check,
    console,
    deadletters,
    demo,
    explain,
    held,
    invitations,
    person,
    positions,
    preview,
    reconcile,
    replay,
    run,
    sandbox,
    status,
    suppress,
    topics,
)
from connector.cli._output import exit_with
from connector.errors import ConnectorError

app = typer.Typer(
    name="connector",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def connector() -> None:
    """Streams Salesforce changes into Pisano surveys and the answers back, over Kafka."""
    from connector.observe import logs

    logs.set_up("error")  # a command prints its own messages; `run` sets its own level


app.command("acls")(acls.acls)
app.command("check")(check.check)
app.command("preview")(preview.preview)
app.command("explain")(explain.explain)
app.command("reconcile")(reconcile.reconcile)
app.command("replay")(replay.replay)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("console")(console.console)
app.command("sandbox")(sandbox.sandbox)
app.command("demo")(demo.demo)
app.add_typer(topics.app, name="topics")
app.add_typer(suppress.app, name="suppress")
app.add_typer(invitations.app, name="invitations")
app.add_typer(person.app, name="person")
app.add_typer(positions.app, name="positions")
app.add_typer(deadletters.app, name="deadletters")
app.add_typer(held.app, name="held")


def main() -> None:
    """The entry point `connector`. An error that a person must fix prints one message and exits with 2, no traceback.

    An error that may go away by itself also prints one message, and exits with 1.
    """
    try:
        app()
    except ConnectorError as error:
        exit_with(error)
