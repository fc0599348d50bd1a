"""The deterministic simulation: the real core under a virtual clock, with every kind of trouble, and what must hold.

``python -m occo_celery.simulation --seed S --runs N``. One seed is one run and always the same one: every choice is
drawn from it, and of all threads exactly one runs at a time.
"""
