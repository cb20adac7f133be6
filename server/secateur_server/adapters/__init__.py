"""Deeds. Each module here implements one kind of I/O."""
