"""Turns verdicts into something that a person or a CI system reads; one format a file."""
