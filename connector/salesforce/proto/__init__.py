"""The Pub/Sub API's wire types: `pubsub_api.proto` is written by hand, everything named `*_pb2*` is generated."""
