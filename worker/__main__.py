"""``python -m dibs.worker`` is ``dibs worker``."""

from .cli import command

if __name__ == "__main__":
    command(prog_name="dibs worker")
