"""The command line. Errors become text in main; each command parses, makes one core call, and prints."""
