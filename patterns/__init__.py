"""The reference implementations, one caching pattern a file."""
