"""A Faust app without anything that a floor does not need."""

import asyncio
from typing import Any

from faust import App


def bare_app(name: str, brokers: str, folder: str, **settings: Any) -> App:
    """An app on the running loop, not started. `brokers` is a list with commas; Faust writes into `folder`."""
    return App(
        name,
        broker=[f"kafka://{server}" for server in brokers.split(",")],
        loop=asyncio.get_running_loop(),
        set_as_current=False,
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        datadir=folder,
        **settings,
    )
