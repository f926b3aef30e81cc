"""Publish and PublishStream: platform events as Avro, each with a result of its own (salesforce §A1)."""

import io
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import fastavro
import orjson

from connector.salesforce.proto import pubsub_api_pb2 as pb
from connector.sandbox.doubles.salesforce.schema import SObject
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.subscription import RefusedError, invalid
from connector.sandbox.doubles.salesforce.values import Problem, timestamp

_MOST = 200  # events of a request (salesforce §A5)


def publish(state: State, event: str, request: pb.PublishRequest) -> pb.PublishResponse:
    """Publishes the events of a request. `event` is the platform event's name; blank when the topic takes none.

    Raises:
        RefusedError: Salesforce refuses the whole request.
    """
    if not event:
        raise RefusedError("PERMISSION_DENIED", "topic.meta.permission", f"{request.topic_name} takes no events.")
    if request.auth_refresh:
        raise invalid("publish.auth.refresh.invalid", "auth_refresh is reserved.")
    if not 0 < len(request.events) <= _MOST:
        raise invalid("publish.event.count.invalid", f"A request has 1 to {_MOST} events, not {len(request.events)}.")
    return pb.PublishResponse(
        results=[_published(state, event, one) for one in request.events],
        schema_id=state.store.schemas[event][-1].schema_id,
        rpc_id=str(uuid.uuid4()),
    )


def _published(state: State, event: str, one: pb.ProducerEvent) -> pb.PublishResult:
    try:
        fields = _fields(state, event, one)
        state.store.publish(event, fields, state.user_id, one.id)
    except Problem as problem:
        error = pb.Error(code="PUBLISH", msg=str(problem))
        return pb.PublishResult(error=error, correlation_key=one.id)
    return pb.PublishResult(replay_id=state.log.entries[-1].replay_id, correlation_key=one.id)


def _fields(state: State, event: str, one: pb.ProducerEvent) -> dict[str, Any]:
    """The event's fields in REST's form, without those that the org sets itself."""
    schema = next((each for each in state.store.schemas[event] if each.schema_id == one.schema_id), None)
    if schema is None:
        raise Problem("INVALID_SCHEMA", f"{one.schema_id!r} is no schema of {event}")
    payload = io.BytesIO(one.payload)
    try:
        values = fastavro.schemaless_reader(payload, orjson.loads(schema.json), None)
    except Exception:  # noqa: BLE001 - fastavro raises whatever wrong bytes lead it to
        values = None
    if not isinstance(values, dict) or payload.read():
        raise Problem("INVALID_PAYLOAD", f"the payload does not fit the schema {one.schema_id}")
    return _rest(schema.entity, values)


def _rest(entity: SObject, values: Mapping[str, Any]) -> dict[str, Any]:
    given = {}
    for field in entity.fields:
        value = values.get(field.name)
        if field.readonly or value is None:
            continue
        if field.kind in {"date", "datetime"}:
            text = timestamp(value / 1000)
            value = datetime.fromtimestamp(value / 1000, UTC).date().isoformat() if field.kind == "date" else text
        given[field.name] = value
    return given


def topic_of(named: str, before: str = "") -> str:
    """The topic of a request. `before` is that of the same stream's earlier requests; later ones may leave it out.

    Raises:
        RefusedError: The topic is missing or changes.
    """
    if not named and not before:
        raise invalid("publish.topic.validation.empty", "The topic name can't be blank.")
    if before and named not in {"", before}:
        raise invalid("publish.topic.mismatch", "The topic of a stream can't change.")
    return before or named
