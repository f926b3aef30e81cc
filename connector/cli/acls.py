"""`connector acls`: the least rights that each stage needs in Kafka."""

from pathlib import Path
from typing import Annotated

import typer


def acls(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    stage: Annotated[
        str | None,
        typer.Option(help="Only this one: a stage, operator (the commands) or topics (`connector topics apply`)."),
    ] = None,
    principal: Annotated[
        str | None, typer.Option(help="Who gets the rights, such as User:connector. Default: User:STAGE.")
    ] = None,
) -> None:
    """Print the ACLs that each stage needs, as `kafka-acls.sh` lines to paste. Asks Kafka nothing.

    admin.properties is a file with the login of a user who may change ACLs.
    """
    from connector.config.file import load
    from connector.config.scope import one_of
    from connector.errors import Fatal
    from connector.kafka import acls as found

    if stage is not None and stage not in found.WHO:
        raise Fatal(f"there is no {stage}; {one_of(stage, found.WHO)}")
    if principal is not None and not principal.partition(":")[2]:
        raise Fatal(f"--principal {principal}: a principal is written like User:connector")
    config = load(file)
    for who in (stage,) if stage else found.WHO:
        print(f"# {who}")
        print(*found.commands(config, who, principal or f"User:{who}"), sep="\n")
