"""Builds capture from the configuration."""

from connector.config import catalogue
from connector.kafka.channel_log import POSITIONS, ChannelLog
from connector.kafka.shared_work import SharedWork
from connector.salesforce import PubSubClient
from connector.stages.capture import Capture
from connector.wiring.shared import Shared


def build(shared: Shared) -> SharedWork:
    """One stream for each channel in this worker's share of the partitions of salesforce.positions."""
    config, settings = shared.config, shared.config.salesforce.pubsub
    pubsub = PubSubClient(
        settings.endpoint,
        settings.tls,
        shared.tokens,
        ca_file=settings.ca_file,
        idle_timeout=settings.idle_timeout,
    )
    capture = Capture(
        pubsub,
        settings,
        catalogue.entity_topics(config),
        channel_log=lambda channel, partition: ChannelLog(config.kafka, channel, partition),
        dead_letter=shared.letters("capture").of_body,
        metrics=shared.metrics,
        cells=shared.cells,
    )
    return SharedWork(
        config.kafka, "capture", POSITIONS, config.salesforce.channels, capture.follow, at_end=pubsub.aclose
    )
