"""The network between clients and servers, under control."""
