"""The pytest plugin: the marker and fixture `chaos`, its options, and the matrix at the end of a session."""
