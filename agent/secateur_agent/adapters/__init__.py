"""Deeds. Each module here implements one port and holds one kind of I/O."""
