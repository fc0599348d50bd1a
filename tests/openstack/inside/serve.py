"""Serves a WSGI application on loopback, in OpenStack's own environment: serve.py MODULE PORT [ARGUMENT...]."""

from __future__ import annotations

import importlib
import sys

import waitress

if __name__ == "__main__":
    module, port = sys.argv[1], int(sys.argv[2])
    sys.argv = [module, *sys.argv[3:]]  # some read their options from there when they are imported
    waitress.serve(importlib.import_module(module).application, host="127.0.0.1", port=port, threads=16)
