"""What the kernel says in /proc and /sys, each kind of resource in a module of its own.

What is missing or cannot be read is ``None``, never a guess. Every reader takes a
`KernelFiles`, so that tests give it a tree of their own.
"""
