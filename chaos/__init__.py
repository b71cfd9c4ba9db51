"""The world that a cache lives in, and how it breaks."""
