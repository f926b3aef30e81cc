"""What the tests on a real broker share: waiting, Kafka as any other client sees it, and the connector itself."""
