"""Results that are computed once and used many times."""
