"""`connector check`: validates a configuration file and describes what it does."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
) -> None:
    """Validate a configuration file and say in words what it does. Exit code 2 if `connector run` would refuse it.

    Conditions that always or never hold are told on stderr.
    """
    from connector.cli._output import warn
    from connector.config.file import load
    from connector.surveys.plan import plan

    print("\n".join(plan(load(file, warn=warn))))
