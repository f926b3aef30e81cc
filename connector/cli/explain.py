"""`connector explain`: what happened to an invitation, a record or an address, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from connector.config import Config
    from connector.explain import Fact, Story, Wanted
    from connector.operate.explain import Explained


def explain(
    what: Annotated[
        str,
        typer.Argument(help="An address, a Salesforce id, or the id of an invitation, call, answer, write or trace."),
    ],
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    scan: Annotated[bool, typer.Option("--scan", help="Read the topics, even if there is an index.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell the whole story across all topics, in order of time. Exit code 1 if nothing is known of it."""
    import asyncio
    import json
    import sys

    from connector.cli._output import console
    from connector.config.file import load
    from connector.explain import wanted
    from connector.explain.words import lines

    asked = wanted(what)
    explained = asyncio.run(_explained(load(file), asked, scan=scan))
    story = explained.story
    if not story.facts:
        print(_unknown(asked, explained), file=sys.stderr)
        raise typer.Exit(1)
    if as_json:
        print(json.dumps({"what": asked.name, **_plain(explained)}))
        return
    for line in lines(story):
        print(line)
    console().print(_table(story))
    for line in (*story.cut, f"from {explained.source}"):
        print(line)


async def _explained(config: "Config", asked: "Wanted", *, scan: bool) -> "Explained":
    from connector.cli._output import progress_bar
    from connector.operate.explain import explain

    with progress_bar("reading the topics") as progress:
        return await explain(config, asked, scan=scan, progress=progress)


def _unknown(asked: "Wanted", explained: "Explained") -> str:
    searched = explained.searched
    times = f" from {searched.first:%F %T} to {searched.last:%F %T} UTC" if searched.first and searched.last else ""
    return f"nothing is known of {asked.name}: searched {searched.facts:,} records{times}, in {explained.source}"


def _table(story: "Story") -> "Table":
    from rich.table import Column, Table
    from rich.text import Text

    from connector.explain.words import words

    table = Table(Column("time (UTC)", no_wrap=True), "topic/partition/offset", "what", "it says")
    for fact in story.facts:
        at = f"{fact.at:%F %T}.{fact.at.microsecond // 1000:03}"
        table.add_row(at, Text(_place(fact)), fact.kind, Text(words(fact, story)))
    return table


def _plain(explained: "Explained") -> dict[str, Any]:
    from connector.explain.words import lines, words

    story = explained.story
    facts = [
        {
            "at": fact.at.isoformat(),
            "topic": fact.topic,
            "partition": fact.partition,
            "offset": fact.offset,
            "kind": fact.kind,
            "summary": words(fact, story),
            "reason": fact.code,
            "ids": {kind: [*ids] for kind, ids in fact.ids.items() if kind != "person"},  # hashes of one index
            "details": dict(fact.details),
        }
        for fact in story.facts
    ]
    return {"summary": [*lines(story)], "facts": facts, "cut": story.cut, "source": explained.source}


def _place(fact: "Fact") -> str:
    return "/".join(map(str, fact.place))
