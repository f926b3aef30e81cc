"""`connector topics`: lists, creates and documents the topics of the catalogue."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The topics: list them, create them, write their reference.")

ConfigFile = Annotated[Path, typer.Argument(help="The configuration, a YAML file.")]


@app.command("list")
def list_topics(file: ConfigFile = Path("connector.yaml")) -> None:
    """List the topics that a configuration needs, and what they hold."""
    from rich.table import Column, Table

    from connector.cli._output import console
    from connector.config import catalogue
    from connector.config.file import load

    table = Table(Column("topic", no_wrap=True), "partitions", "kept", "written by", "personal data", "what it holds")
    for topic in catalogue.topics_for(load(file)):
        personal = "yes" if topic.personal_data else "no"
        table.add_row(topic.name, str(topic.partitions), topic.kept, topic.owner, personal, topic.summary)
    console().print(table)


@app.command("apply")
def apply_topics(file: ConfigFile = Path("connector.yaml")) -> None:
    """Create missing topics and report differences. Never deletes, shrinks or changes a topic."""
    import asyncio

    from connector.config import catalogue
    from connector.config.file import load
    from connector.kafka import topics

    config = load(file)
    report = asyncio.run(topics.apply(config.kafka, catalogue.topics_for(config)))
    for name in report.created:
        print(f"created    {name}")
    for name in report.unchanged:
        print(f"unchanged  {name}")
    for difference in report.differences:
        print(
            f"differs    {difference.topic}: {difference.setting} is {difference.is_}, should be {difference.should_be}"
        )


@app.command("docs")
def write_docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if something is stale.")] = False,
) -> None:
    """Write the JSON Schemas, the AsyncAPI document, and the reference pages of the topics."""
    from connector.kafka import reference

    stale = reference.stale()
    if check and stale:
        print("stale, write them with `connector topics docs`:", *(str(path) for path, _ in stale), sep="\n  ")
        raise typer.Exit(1)
    for path, text in stale if not check else []:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written  {path}")
