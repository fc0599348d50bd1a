"""Performs instructions: claims what SQL asks for, makes the one cloud call, records what came of it.

The guards (numbered as in docs/explanation/protocol.md) stand where they act: claims.py takes operations,
create.py and drop.py perform them, teardown.py drives the end of a whole infrastructure.
"""
