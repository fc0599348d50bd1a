"""The planner: pure functions from what is wanted and what was seen to what is to be done. Imports the model only.

Called by enactor/passes.py. No clock, no randomness, no SQL, no logging: the same arguments give the same plan.
"""
