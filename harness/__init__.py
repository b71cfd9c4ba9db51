"""What runs a cache under test."""
