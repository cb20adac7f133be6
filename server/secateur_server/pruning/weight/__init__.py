"""Weight pruning: which weights become zero, and what the others become to make up for it.

cut (thresholds) or elimination (second order) -> mask -> correction -> codes
"""
