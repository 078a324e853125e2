"""A web service that has its long work done by dibs: see `service.py`."""
