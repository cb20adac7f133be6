"""The inference process: sources, engine, hot loop, measurements. No network, no decisions."""
