"""The Django example as its users run it: broker, workers, server and relay are processes; requests go over HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dibs import Admin, Dibs

from ..support.imports import SOURCES
from ..support.ports import free_port
from ..support.processes import Broker, environment, running_broker
from ..support.waiting import until

RECEIPTS = "examples.django_shop.shop.tasks.send_receipt"
MANAGE = [sys.executable, "-m", "examples.django_shop.manage"]


class Shop:
    """The project, with a database of its own."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.env = environment({"DIBS_TARGET": broker.address, "SHOP_DATABASE": str(folder / "shop.sqlite3")})

    def manage(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        return subprocess.run(
            [*MANAGE, *words], cwd=SOURCES, env={**self.env, **(env or {})}, capture_output=True, text=True, check=False
        )

    def shell(self, program: str) -> Any:
        """What a program in the project prints, as JSON."""
        done = self.manage("shell", "--no-imports", "-c", program)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def receipts(self) -> list[str]:
        found: list[str] = self.shell(
            "import json; from examples.django_shop.shop.models import Receipt;"
            "print(json.dumps([one.text for one in Receipt.objects.order_by('pk')]))"
        )
        return found

    @contextmanager
    def running(self, *words: str, says: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on until it is ended with the with, from when it has said that."""
        log = self.folder / f"{words[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen([*MANAGE, *words], cwd=SOURCES, env=self.env, stdout=output, stderr=output)
        try:
            until(lambda: says in log.read_text() or process.poll() is not None, says)
            assert process.poll() is None, log.read_text()
            yield process
        except BaseException:
            sys.stderr.write(f"--- output of manage.py {words[0]}\n{log.read_text(errors='replace')}---\n")
            raise
        finally:
            process.terminate()
            process.wait(60)

    @contextmanager
    def serving(self) -> Iterator[httpx.Client]:
        """The web server."""
        port = free_port()
        with (
            self.running("runserver", "--noreload", str(port)),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            until(lambda: listens(client))
            yield client


def listens(client: httpx.Client) -> bool:
    try:
        client.get("/admin/login/")
    except httpx.ConnectError:
        return False
    return True


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with running_broker() as broker:
        shop = Shop(broker, tmp_path)
        migrated = shop.manage("migrate", "--verbosity", "0")
        assert migrated.returncode == 0, migrated.stderr
        yield shop


def test_what_is_ordered_gets_its_receipt_and_what_is_rolled_back_does_not(shop: Shop) -> None:
    with shop.serving() as client, shop.running("dibs_worker", says="tasks="), shop.running("dibs_outbox"):
        client.post("/orders", data={"what": "tea"}).raise_for_status()
        client.post("/orders", data={"what": "nothing", "fails": "1"}).raise_for_status()
        until(lambda: shop.receipts() == ["1 tea"])
        client.post("/orders", data={"what": "nothing", "fails": "1", "surely": "1"}).raise_for_status()
        client.post("/orders", data={"what": "coffee", "surely": "1"}).raise_for_status()
        until(lambda: shop.receipts() == ["1 tea", "1 coffee"])


def test_the_outbox_waits_while_the_broker_is_away(shop: Shop) -> None:
    away = {"DIBS_TARGET": f"127.0.0.1:{free_port()}"}
    program = (
        "from examples.django_shop.shop.tasks import send_receipt; from dibs.contrib.django import outbox;"
        "from examples.django_shop.shop.models import Order;"
        "send_receipt.on(outbox()).execute(Order.objects.create(what='tea').pk)"
    )
    put = shop.manage("shell", "--no-imports", "-c", program, env=away)
    assert put.returncode == 0, put.stderr
    assert shop.manage("dibs_outbox", "--once").returncode == 0
    with Dibs(shop.broker.address, namespace="shop") as app:
        assert [(name, waits) for name, waits, _ in app.queue_sizes()] == [("default", 1)]
    assert shop.manage("dibs_outbox", "--once").returncode == 0
    assert shop.shell("from dibs.contrib.django.models import OutboxCall; print(OutboxCall.objects.count())") == 0


def test_a_second_instance_has_a_worker_of_its_own(shop: Shop) -> None:
    with shop.running("dibs_worker", "--instance", "reports", says="tasks="):
        counted = shop.shell(
            "from examples.django_shop.shop.tasks import count_orders; print(count_orders.execute().get(timeout=60))"
        )
    assert counted == 0


def test_an_instance_that_is_not_described_is_refused(shop: Shop) -> None:
    done = shop.manage("dibs_worker", "--instance=nothing")
    assert done.returncode == 1
    assert "DIBS describes no instance 'nothing', only default, reports" in done.stderr


def test_djangos_own_tasks_run_and_tell_their_results(shop: Shop) -> None:
    program = """
import json, time
from django_tasks import default_task_backend
from examples.django_shop.shop.tasks import shout
put = shout.enqueue("hello")
while not put.is_finished:
    time.sleep(0.05)
    put.refresh()
print(json.dumps([put.status, put.return_value, put.attempts, put.id]))
"""
    with shop.running("dibs_worker", says="tasks="):
        status, value, attempts, id = shop.shell(program)
    assert (status, value, attempts) == ("SUCCESSFUL", "HELLO", 1)
    assert id.startswith("examples.django_shop.shop.tasks.shout:")


def test_one_of_djangos_tasks_that_fails_tells_its_error(shop: Shop) -> None:
    program = """
import json, time
from examples.django_shop.shop.tasks import shout
put = shout.enqueue(None)
while not put.is_finished:
    time.sleep(0.05)
    put.refresh()
(error,) = put.errors
print(json.dumps([put.status, error.exception_class_path, "'NoneType'" in error.traceback]))
"""
    with shop.running("dibs_worker", says="tasks="):
        assert shop.shell(program) == ["FAILED", "builtins.AttributeError", True]


def test_a_result_that_is_not_known_does_not_exist(shop: Shop) -> None:
    program = """
import json
from django_tasks import default_task_backend
from django_tasks.exceptions import TaskResultDoesNotExist
try:
    default_task_backend.get_result("examples.django_shop.shop.tasks.shout:x")
except TaskResultDoesNotExist:
    print(json.dumps("none"))
"""
    assert shop.shell(program) == "none"


def login(client: httpx.Client, name: str) -> None:
    token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/admin/login/").text)[0]
    answer = client.post(
        "/admin/login/", data={"username": name, "password": "pw", "csrfmiddlewaretoken": token, "next": "/admin/"}
    )
    assert answer.status_code == 302, answer.text


def test_the_admin_shows_queues_and_sends_dead_letters_back_for_those_who_may(shop: Shop) -> None:
    people = """
from django.contrib.auth.models import Permission, User
User.objects.create_superuser("boss", password="pw")
for name, rights in (("reader", ["view_queue"]), ("nobody", [])):
    user = User.objects.create_user(name, password="pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
print(0)
"""
    shop.shell(people)
    with Dibs(shop.broker.address, namespace="shop") as app, shop.running("dibs_worker", says="tasks="):
        # There is no such order, and none comes: it dies.
        until(lambda: RECEIPTS in app.known_tasks())
        app.call_task(RECEIPTS, None, 77)
        until(lambda: [letters.size for letters in Admin(of=app).dead_letter_queues()] == [1])
    with shop.serving() as client:
        login(client, "nobody")
        assert client.get("/admin/dibs_django/queue/").status_code == 403
    with shop.serving() as client:
        login(client, "reader")
        page = client.get("/admin/dibs_django/queue/").text
        assert "Dead letters" in page
        assert "DoesNotExist" in page
        assert "Send all" not in page
        assert client.post("/admin/dibs_django/queue/", data={}).status_code == 403
    with shop.serving() as client:
        login(client, "boss")
        page = client.get("/admin/dibs_django/queue/").text
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page[page.index("Dead letters") :]))
        assert client.post("/admin/dibs_django/queue/", data=fields).status_code == 302
        page = client.get("/admin/dibs_django/queue/").text
        assert "1 dead letters of" in page
        assert "Send all" not in page
        assert client.get("/admin/dibs_django/outboxcall/").status_code == 200


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        ('["a"]', "DIBS must be a dict"),
        ('{"targt": "a:1"}', "'targt'"),
        ('{"default": {"target": "a:1"}, "other": 1}', "other is no dict"),
        ('{"target": "a b"}', "DIBS, instance 'default'"),
    ],
)
def test_settings_that_make_no_sense_are_told_when_django_starts(
    shop: Shop, tmp_path: Path, described: str, sentence: str
) -> None:
    (tmp_path / "wrong_settings.py").write_text(f"from examples.django_shop.settings import *\nDIBS = {described}\n")
    path = f"{tmp_path}:{SOURCES}:{shop.env.get('PYTHONPATH', '')}"
    done = shop.manage("check", env={"DJANGO_SETTINGS_MODULE": "wrong_settings", "PYTHONPATH": path})
    assert done.returncode != 0
    assert "ImproperlyConfigured" in done.stderr
    assert sentence in done.stderr


def test_every_instance_closes_old_connections_to_databases_once(shop: Shop) -> None:
    program = """
import json
from dibs.contrib.django import instance
found = [type(one).__name__ for name in ("default", "reports") for one in instance(name).registry.layers.all]
print(json.dumps(found))
"""
    assert shop.shell(program) == ["CloseOldConnections", "CloseOldConnections"]


def test_migrations_fit_the_models(shop: Shop) -> None:
    done = shop.manage("makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout


def test_on_commit_without_django_says_what_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import dibs\nf = dibs.task(name='f')(print)\nf.on_commit()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "needs 'dibs.contrib.django' in INSTALLED_APPS" in done.stderr


def test_the_page_shows_the_example() -> None:
    page = (SOURCES / "docs/frameworks.md").read_text()
    part = page[page.index("## Django") : page.index("## SQLAlchemy")]
    blocks = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        assert any(block in path.read_text() for path in (SOURCES / "examples/django_shop").rglob("*.py")), block
