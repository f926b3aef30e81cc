"""Helpers that the tests share: waiting, a plain Kafka client, made-up records, simulations and the connector."""
