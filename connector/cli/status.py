"""`connector status`: where things stand, at a glance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from connector.config import Config
    from connector.operate.status import Board, Status

_EVERY = 2.0  # seconds between two looks with --watch
_BAR = 10  # characters
_ERRORS = 5  # of a worker's last error lines, in the table; --json has all


def status(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    url: Annotated[
        list[str] | None,
        typer.Option(help="A worker's address; may be repeated. Without it, the file's service.host and port."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 2 s, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per look.")] = False,
) -> None:
    """Show stages, lag, limits, positions, outcomes and dead letters. Reads only.

    Exit code 1 if somebody should look at something, 2 if Kafka or a worker named with --url does not answer.
    """
    import asyncio

    from connector.config.file import load
    from connector.errors import Fatal, Retryable

    config = load(file)
    try:
        code = asyncio.run(_show(config, url, watch=watch, as_json=as_json))
    except Retryable as error:
        raise Fatal(str(error)) from error
    except KeyboardInterrupt:
        code = 0
    raise typer.Exit(code)


async def _show(config: "Config", urls: Sequence[str] | None, *, watch: bool, as_json: bool) -> int:
    import asyncio
    import sys

    from rich.console import Group
    from rich.live import Live

    from connector.cli._output import console
    from connector.operate.status import Board
    from connector.operate.worker_page import address

    board, screen = Board(config, urls or [*filter(None, (address(config.service),))]), console()
    if watch and screen.is_terminal and not as_json:
        with Live(console=screen, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(*_page(await board.look())), refresh=True)
                await asyncio.sleep(_EVERY)
    while True:
        found = await _look(board)
        if as_json:
            print(_json(found), flush=True)
        else:
            screen.print(*_page(found), sep="\n")
        if not watch:
            break
        await asyncio.sleep(_EVERY)
    silent = [worker for worker, page in found.workers.items() if page is None]
    if urls and silent:
        print(f"connector: no worker answers at {' or '.join(silent)}", file=sys.stderr)
        return 2
    return int(bool(found.problems))


async def _look(board: "Board") -> "Status":
    """Says on a terminal what is being read, because a week of outcomes takes its time."""
    from rich.console import Console

    errors = Console(stderr=True)
    if not errors.is_terminal:
        return await board.look()
    with errors.status("Looking …") as line:
        return await board.look(line.update)


def _json(found: "Status") -> str:
    import dataclasses
    import json

    return json.dumps(dataclasses.asdict(found), default=str)


def _page(found: "Status") -> "list[RenderableType]":
    from rich.text import Text

    answering = [worker for worker, page in found.workers.items() if page]
    silent = [worker for worker, page in found.workers.items() if page is None]
    lines = [
        f"{found.at:%F %T} UTC · workers that answer: {', '.join(answering) or 'none, so this is what Kafka knows'}"
    ]
    lines += [f"no worker answers at {worker}" for worker in silent]
    if not found.workers:
        lines.append("service.port is 0, so the workers' addresses are not known; name them with --url")
    problems = [Text(f"look at this: {problem}", style="red") for problem in found.problems]
    return [*map(Text, lines), *(problems or [Text("nothing to look at", style="green")]), *_tables(found)]


def _tables(found: "Status") -> "list[RenderableType]":
    stages = _table("stage", "members", "ready", "lag", "oldest", "in flight", "parked", "per minute")
    for one in found.stages:
        ready = None if one["ready"] is None else f"{one['ready']} of {one['workers']}"
        members, lag, *counts = (_number(one[name]) for name in ("members", "lag", "in_flight", "parked", "per_minute"))
        stages.add_row(one["stage"], members, ready or "?", lag, _age(one["lag_seconds"], ""), *counts)
    accounts = _table("account", "calls in the windows", "gate", "waiting", "token's age")
    for one in found.accounts:
        bars = "\n".join(_bar(window) for window in one["windows"] or []) or "?"
        gate = f"closed for {one['closed_for']:.0f} s" if one["closed_for"] else "open" if one["windows"] else "?"
        accounts.add_row(one["account"], bars, gate, _number(one["waiting"]), _age(one["token_age"]))
    channels = _table("channel", "position's age", "of 72 h")
    for one in found.channels:
        age = one["position_age"]
        share = "no position yet" if age is None else f"{100 * age / one['kept']:.0f} %"
        channels.add_row(one["channel"], _age(age), share)
    api = found.salesforce["api"]
    budget = _table("Salesforce", "API calls in 24 h", "token's age")
    budget.add_row("the org", f"{api['used']} of {api['limit']}" if api else "?", _age(found.salesforce["token_age"]))
    tables = [stages, accounts, channels, budget]
    tables += _listed(found.outcomes, "outcome", "reason", "1h", "24h", "7d")
    tables += _listed(found.dead_letters, "stage", "reason", "1h", "24h", "7d", title="dead letters")
    tables += _listed(found.held, "cell", "kind", "since", "reason", title="held")
    tables += _listed(found.errors[-_ERRORS:], "timestamp", "event", "reason", "error", title="last errors")
    return [*tables]


def _listed(rows: Sequence[Mapping[str, Any]], *columns: str, title: str | None = None) -> "list[Table]":
    """A table of the rows, if there are any."""
    table = _table(*columns)
    table.title, table.title_justify = title, "left"
    for row in rows:
        table.add_row(*(_number(row.get(column)) for column in columns))
    return [table] if rows else []


def _table(*columns: str) -> "Table":
    from rich.table import Table

    return Table(*columns)


def _bar(window: Mapping[str, Any]) -> str:
    full = min(_BAR, round(_BAR * window["used"] / window["limit"]))
    return f"{'█' * full}{'░' * (_BAR - full)} {window['used']}/{window['limit']} in {window['seconds']:g} s"


def _number(value: Any) -> str:
    if value is None:
        return ""
    from rich.markup import escape

    return f"{value:.0f}" if isinstance(value, float) else escape(str(value))


def _age(seconds: float | None, unknown: str = "?") -> str:
    if seconds is None:
        return unknown
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
