"""What is wrong with a server, its broker and its fleet, and how to mend it.

Nothing is changed. Each check is a function that gives findings; `examination` runs them all.
"""
