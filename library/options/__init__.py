"""What a user may set: declared once, checked once, never written to afterwards."""
