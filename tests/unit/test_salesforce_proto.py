"""The Pub/Sub API's wire types: the committed code matches the proto, and the proto matches Salesforce's API."""

from connector.salesforce.proto import pubsub_api_pb2
from connector.salesforce.proto.generate import main


def test_generated_files_are_up_to_date() -> None:
    assert main(["--check"]) == 0


def test_all_six_calls_are_declared_under_their_wire_names() -> None:
    """salesforce §A1."""
    service = pubsub_api_pb2.DESCRIPTOR.services_by_name["PubSub"]
    assert {method.full_name: (method.input_type.name, method.output_type.name) for method in service.methods} == {
        "eventbus.v1.PubSub.Subscribe": ("FetchRequest", "FetchResponse"),
        "eventbus.v1.PubSub.GetSchema": ("SchemaRequest", "SchemaInfo"),
        "eventbus.v1.PubSub.GetTopic": ("TopicRequest", "TopicInfo"),
        "eventbus.v1.PubSub.Publish": ("PublishRequest", "PublishResponse"),
        "eventbus.v1.PubSub.PublishStream": ("PublishRequest", "PublishResponse"),
        "eventbus.v1.PubSub.ManagedSubscribe": ("ManagedFetchRequest", "ManagedFetchResponse"),
    }


def test_field_numbers_are_those_on_the_wire() -> None:
    """salesforce §A1: protos with other numbers exist."""
    numbers = {
        message: {field.name: field.number for field in pubsub_api_pb2.DESCRIPTOR.message_types_by_name[message].fields}
        for message in ("FetchRequest", "FetchResponse", "ConsumerEvent", "ProducerEvent", "SchemaInfo")
    }
    assert numbers == {
        "FetchRequest": {"topic_name": 1, "replay_preset": 2, "replay_id": 3, "num_requested": 4, "auth_refresh": 5},
        "FetchResponse": {"events": 1, "latest_replay_id": 2, "rpc_id": 3, "pending_num_requested": 4},
        "ConsumerEvent": {"event": 1, "replay_id": 2},
        "ProducerEvent": {"id": 1, "schema_id": 2, "payload": 3, "headers": 4},
        "SchemaInfo": {"schema_json": 1, "schema_id": 2, "rpc_id": 3},
    }
