"""What operators do to the topics. Used by the command line."""
