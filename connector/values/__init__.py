"""Values that pass through the connector: from JSON, through topics and templates, back to JSON."""
