"""Published ladders: content-addressed files and an append-only index."""
