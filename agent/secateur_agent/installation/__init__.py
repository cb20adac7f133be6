"""The agent as a service of this machine: what is installed, and what is taken away again."""
