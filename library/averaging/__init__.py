"""Averages of the weights that training goes through."""
