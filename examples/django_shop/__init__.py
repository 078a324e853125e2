"""A Django project that has its work done by dibs: see `settings.py` and `shop/`."""
