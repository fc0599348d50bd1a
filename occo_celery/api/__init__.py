"""The Python API, named as in Occopus: manager.py (infrastructures) and occoapp.py (setting up an application)."""
