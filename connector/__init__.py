"""Streams Salesforce changes into Pisano surveys and the answers back, over Kafka."""
