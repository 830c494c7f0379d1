"""From checked settings to a trained network."""
