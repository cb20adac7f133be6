"""What this device may install: verified against signed metadata, from a pinned root on."""
