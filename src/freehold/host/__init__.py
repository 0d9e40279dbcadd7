"""The agent of one machine: it is told what should run here, makes it so, and reports what is.

It has no database and imports nothing of the control plane; `wire` is all that the two share.
"""
