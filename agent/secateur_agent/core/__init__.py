"""Decisions. Nothing in this package opens, sends, sleeps, or reads a clock."""
