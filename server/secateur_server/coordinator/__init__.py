"""The coordinator at run time: one process of `secateur serve`.

`driver` hears, `coordination` holds what is known and decided, `voice` says it; `core` decides.
"""
