"""`connector console`: the web page for operators."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connector.config import Config

_EXTRA = "the console needs one more package: pip install 'salesforce-pisano-connector[console]'"


def console(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    host: Annotated[
        str, typer.Option(help="The address to listen on. Others than this machine's own need a login.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 picks a free one.", min=0, max=65535)] = 8090,
    url: Annotated[
        list[str] | None,
        typer.Option(help="A worker's address; may be repeated. Without it, the file's service.host and port."),
    ] = None,
) -> None:
    """Serve the web page for operators, until Ctrl-C. It needs Kafka only for what it shows, and starts without."""
    import asyncio

    from connector.config.file import load
    from connector.errors import Fatal
    from connector.observe import logs

    try:
        import jinja2  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise Fatal(_EXTRA) from error
    config = load(file)
    logs.set_up("warning")  # logins that were refused, and values that were shown
    asyncio.run(_serve(config, host, port, url))


async def _serve(config: "Config", host: str, port: int, urls: list[str] | None) -> None:
    import asyncio
    import signal

    from connector.cli._output import user
    from connector.console.server import serving
    from connector.operate.worker_page import address

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    workers = urls or [*filter(None, (address(config.service),))]
    async with serving(config, host, port, workers, user()) as found:
        print(f"the console is at {found}; Ctrl-C ends it", flush=True)
        await stop.wait()
