"""Network files: reading and writing, the names of other programs, and forms that those read."""
