"""The Salesforce side: tokens, the Pub/Sub stream, change events, REST. It knows no Kafka and no Pisano."""

from connector.salesforce._entry import Unless, Written
from connector.salesforce._fitting import misfit
from connector.salesforce._numbers import text_of
from connector.salesforce._refusals import Failing
from connector.salesforce.auth import ClientCredentials, JwtBearer, Token, TokenSource
from connector.salesforce.change_events import (
    DecodedChange,
    DecodedPlatformEvent,
    client_of,
    decode,
    decode_platform_event,
)
from connector.salesforce.errors import PositionLost
from connector.salesforce.pubsub import Batch, PubSubClient, RawEvent
from connector.salesforce.record_write import CallOptions, Choice, RecordWrite, record_of
from connector.salesforce.rest import RestClient, Result
from connector.salesforce.schemas import EventSchema, parse_schema
from connector.salesforce.writer import CollectionWriter, in_any_case

__all__ = [
    "Batch",
    "CallOptions",
    "Choice",
    "ClientCredentials",
    "CollectionWriter",
    "DecodedChange",
    "DecodedPlatformEvent",
    "EventSchema",
    "Failing",
    "JwtBearer",
    "PositionLost",
    "PubSubClient",
    "RawEvent",
    "RecordWrite",
    "RestClient",
    "Result",
    "Token",
    "TokenSource",
    "Unless",
    "Written",
    "client_of",
    "decode",
    "decode_platform_event",
    "in_any_case",
    "misfit",
    "parse_schema",
    "record_of",
    "text_of",
]
