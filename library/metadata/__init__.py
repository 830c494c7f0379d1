"""What network files say about themselves."""
