"""Model families behind one protocol, and the reading of their checkpoints."""
