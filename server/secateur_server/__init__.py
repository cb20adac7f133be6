"""The server: coordinator, registry, pruner and the operator's command line."""
