"""Fleets that are played: hardware, heat, load and links modelled, decisions by the core."""
