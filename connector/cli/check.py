"""`connector check`: validates a configuration file and describes what it does."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
) -> None:
    """Validate a configuration file and say in words what it does. Exit code 2 if `connector run` would refuse it."""
    from connector.config.file import ConfigError, read
    from connector.surveys.plan import plan

    found = read(file)
    print("\n".join(plan(found.config)))
    if found.not_yet_supported:
        raise ConfigError(found.not_yet_supported)
