"""One module per page: what it shows as fragments, and the frame that they sit in."""
