"""What a machine needs to be a cloud: found out by `checks`, mended by `install`.

Only the standard library is used, because ``python3 -m freehold.doctor --fix`` runs with the system's own Python before
there is a virtual environment; it must also run on a Python that is too old for Freehold, to say so.
"""
