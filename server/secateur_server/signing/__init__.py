"""Keys and signed metadata of the registry: what devices check before they install."""
