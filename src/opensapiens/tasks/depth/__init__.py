"""Relative depth of a person, small = near."""
