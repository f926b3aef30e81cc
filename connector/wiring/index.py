"""Builds index from the configuration."""

from pathlib import Path

from connector.explain import Index
from connector.stages.index import IndexStage
from connector.wiring.shared import Shared


def build(shared: Shared) -> IndexStage:
    """What keeps the index at `service.index` up to date."""
    config = shared.config
    stage = IndexStage(config.kafka, lambda: Index.create(Path(config.service.index), config))
    shared.metrics.lag.labels("index").set_function(lambda: stage.lag)
    return stage
