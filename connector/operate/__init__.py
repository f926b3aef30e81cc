"""What operators do and see: the command line and the console share it. It knows the topics, and no stage."""
