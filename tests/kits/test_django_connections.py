"""Connections of Django to databases, around tasks; in a process of its own, for Django is configured once."""

from __future__ import annotations

import subprocess
import sys

from ..support.imports import SOURCES
from ..support.processes import environment

PROGRAM = """
import asyncio
from asgiref.sync import sync_to_async
from django.conf import settings

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x.sqlite3"}})
import django

django.setup()
from django.db import connection, transaction

import dibs
from dibs.middleware import CloseOldConnections
from dibs.testing import eager

dibs.use(CloseOldConnections())


def age():
    connection.ensure_connection()
    connection.close_at = 0  # as after CONN_MAX_AGE


def is_open():
    return connection.connection is not None


@dibs.task(save_results=60)
def plain():
    before = is_open()
    age()
    return before


@dibs.task(save_results=60)
async def coroutine():
    before = await sync_to_async(is_open)()
    await sync_to_async(age)()
    return before


@dibs.task(save_results=60)
def fails():
    age()
    raise ValueError


async def asynchronous(adibs):
    await sync_to_async(age)()
    handle = await coroutine.on(adibs).execute()
    assert await handle.get() is False, "closed before"
    assert not await sync_to_async(is_open)(), "closed after"


with eager():
    age()
    assert plain.execute().get() is False, "closed before"
    assert not is_open(), "closed after"
    fails.execute()
    assert not is_open(), "closed after an error"
    asyncio.run(asynchronous(dibs.AsyncDibs(of=dibs.default())))
    with transaction.atomic():
        age()
        assert plain.execute().get() is True, "kept in a transaction"
        assert is_open()
print("to the end")
"""


def test_old_connections_are_closed_around_runs(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=str(tmp_path),
        env=environment({"PYTHONPATH": str(SOURCES / "clients/python")}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "to the end\n"), done.stderr


def test_without_a_library_the_error_says_what_to_install() -> None:
    program = """
import sys
from dibs.middleware import CloseOldConnections, OpenTelemetry, Sentry
for module, kind in (("django.db", CloseOldConnections), ("opentelemetry", OpenTelemetry), ("sentry_sdk", Sentry)):
    sys.modules[module] = None
    try:
        kind()
    except Exception as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment({"PYTHONPATH": str(SOURCES / "clients/python")}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "CloseOldConnections needs django.db: pip install 'django'",
        "OpenTelemetry needs opentelemetry: pip install 'dibs[opentelemetry]'",
        "Sentry needs sentry_sdk: pip install 'dibs[sentry]'",
    ], done.stderr
