"""What operators see: the HTTP pages, the metrics and the logs."""
