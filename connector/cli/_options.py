"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration, a YAML file.")]
By = Annotated[str | None, typer.Option(help="Who decides; without it, the user of this machine.")]
DEFAULT = Path("connector.yaml")
