"""The Open Inference Protocol, version 2, over HTTP: what callers of this device speak."""
