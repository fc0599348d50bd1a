"""The User Data Store: SQL, the only source of truth.

Functions take a connection and never commit: the shell owns the transaction and ends it before any cloud call.
Rows become values of occo_celery.model here. All times are seconds since the epoch (docs/decisions/0002).
"""
