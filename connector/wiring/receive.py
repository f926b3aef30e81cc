"""Builds receive from the configuration."""

from connector.stages.receive import Receive
from connector.wiring.shared import Shared


def build(shared: Shared) -> Receive:
    """Its routes are served by the process's one port."""
    return Receive(
        shared.config.pisano,
        shared.publisher.send,
        shared.topic("pisano.feedback"),
        dead_letter=shared.letters("receive").of_body,
        metrics=shared.metrics,
    )
