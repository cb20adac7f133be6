"""How files reach the device: one port, `Repository`, and the ways that implement it."""
