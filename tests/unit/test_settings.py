"""Settings from flags, environment and file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import ValidationError
from redis.asyncio.connection import parse_url

from dibs.broker.config.addresses import is_local
from dibs.broker.config.limits import Limits
from dibs.broker.config.redis_url import shown_redis_url
from dibs.broker.config.settings import BadSettings, Settings, default_data_dir


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIBS_{name.upper()}", raising=False)


def test_the_defaults_are_a_broker_on_loopback_with_a_private_redis() -> None:
    settings = Settings.load({})

    assert settings.listen == ("127.0.0.1:7411",)
    assert settings.redis is None
    assert settings.max_payload_bytes == 262_144
    assert settings.poll_interval == timedelta(milliseconds=800)


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "dibs.toml"
    config.write_text('key-prefix = "file"\ngrace = "7s"\nlog_level = "debug"\nmax_credit = 5\n')
    monkeypatch.setenv("DIBS_KEY_PREFIX", "env")
    monkeypatch.setenv("DIBS_GRACE", "8s")

    settings = Settings.load({"key_prefix": "flag", "max_credit": None}, config)

    assert settings.key_prefix == "flag"
    assert settings.grace == timedelta(seconds=8)
    assert settings.log_level == "debug"
    assert settings.max_credit == 5
    assert settings.max_batch_items == 1000


def test_addresses_come_as_a_comma_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIBS_LISTEN", "127.0.0.1:1, unix:/tmp/x.sock ,[::1]:0")

    assert Settings.load({}).listen == ("127.0.0.1:1", "unix:/tmp/x.sock", "[::1]:0")
    assert Settings.load({"listen": ["localhost:2"]}).listen == ("localhost:2",)


def test_lengths_and_amounts_are_written_with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIBS_MAX_DELAY", "12h")
    monkeypatch.setenv("DIBS_MAX_PAYLOAD_BYTES", "1MiB")

    settings = Settings.load({"redis_timeout": "500ms"})

    assert settings.max_delay == timedelta(hours=12)
    assert settings.max_delay_us == 43_200_000_000
    assert settings.max_payload_bytes == 1024**2
    assert settings.redis_timeout == timedelta(milliseconds=500)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_batch_items": "5000"}, "--max-batch-items (DIBS_MAX_BATCH_ITEMS) is '5000': input should be less than"),
        ({"grace": "soon"}, "--grace (DIBS_GRACE) is 'soon': must be a length of time such as"),
        (
            {"max_payload_bytes": "1 mile"},
            "--max-payload-bytes (DIBS_MAX_PAYLOAD_BYTES) is '1 mile': must be",
        ),
        ({"listen": "nonsense"}, "'nonsense' must be host:port"),
        ({"listen": "127.0.0.1:99999"}, "must be host:port"),
        ({"listen": "unix:"}, "lacks the path"),
        ({"listen": "unix:/" + "x" * 120}, "longer than 103 bytes"),
        ({"listen": ""}, "--listen (DIBS_LISTEN)"),
        ({"redis": "http://x"}, "must be a redis://, rediss:// or unix:// URL"),
        ({"redis": "redis://h/zero"}, "--redis (DIBS_REDIS): has a database that is no number"),
        ({"redis": "redis://h", "redis_file": "/x"}, "--redis-file (DIBS_REDIS_FILE) cannot both be given"),
        ({"redis_file": "/nowhere/url"}, "--redis-file /nowhere/url: cannot be read: No such file"),
        ({"key_prefix": "{a}"}, "--key-prefix (DIBS_KEY_PREFIX) is '{a}'"),
        ({"log_level": "loud"}, "--log-level (DIBS_LOG_LEVEL) is 'loud'"),
        ({"tls_cert": "/c"}, "--tls-cert and --tls-key go together"),
        ({"tls_key": "/k"}, "--tls-cert and --tls-key go together"),
        ({"tls_client_ca": "/ca"}, "--tls-client-ca means nothing without --tls-cert and --tls-key"),
        ({"tls_client_auth": "require"}, "--tls-client-auth require needs --tls-client-ca"),
        ({"tls_client_auth": "maybe"}, "--tls-client-auth (DIBS_TLS_CLIENT_AUTH) is 'maybe': input should be 'none'"),
        ({"max_payload_bytes": "4MiB"}, "max_message_bytes must be at least"),
    ],
)
def test_a_bad_setting_is_one_sentence_that_names_the_option(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadSettings) as caught:
        Settings.load(options)

    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0:7411", "[::]:7411", "10.0.0.1:7411", "broker.example:7411"])
def test_plaintext_beyond_loopback_has_to_be_asked_for(address: str) -> None:
    with pytest.raises(BadSettings, match="say --insecure") as caught:
        Settings.load({"listen": address})

    assert address in str(caught.value)
    assert Settings.load({"listen": address, "insecure": True}).listen == (address,)


def test_with_tls_a_broker_may_listen_for_everybody() -> None:
    options = {"listen": "0.0.0.0:7411", "tls_cert": "/c", "tls_key": "/k"}
    assert Settings.load(options).listen == ("0.0.0.0:7411",)
    with pytest.raises(BadSettings, match="give it --tls-cert and --tls-key, listen on loopback, or say --insecure"):
        Settings.load({"listen": "0.0.0.0:7411"})


def test_clients_must_show_a_certificate_where_there_is_something_to_know_it_by() -> None:
    pair = {"tls_cert": "/c", "tls_key": "/k"}
    assert not Settings.load(pair).wants_client_certificates
    assert not Settings.load({**pair, "tls_client_auth": "none"}).wants_client_certificates
    assert Settings.load({**pair, "tls_client_ca": "/ca"}).wants_client_certificates
    assert Settings.load({**pair, "tls_client_ca": "/ca", "tls_client_auth": "REQUIRE"}).wants_client_certificates
    assert not Settings.load({**pair, "tls_client_ca": "/ca", "tls_client_auth": "none"}).wants_client_certificates


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "localhost:1", "unix:/tmp/x"])
def test_loopback_and_unix_sockets_are_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('no_such = "x"', "there is no option 'no_such'"),
        ("= 5", "is not valid TOML"),
        ("max_credit = -1", "--max-credit (DIBS_MAX_CREDIT) is -1"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    config = tmp_path / "dibs.toml"
    config.write_text(content)

    with pytest.raises(BadSettings) as caught:
        Settings.load({}, config)

    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        Settings.load({}, tmp_path / "none.toml")


def test_every_option_says_what_it_means() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_settings_do_not_change() -> None:
    settings = Settings.load({})

    with pytest.raises(ValidationError, match="frozen"):
        settings.grace = timedelta(0)


def test_settings_are_limits_and_can_key_a_memo() -> None:
    settings = Settings.load({})

    assert isinstance(settings, Limits)
    assert {settings: 1}[settings] == 1


@pytest.mark.parametrize(("xdg", "expected"), [("/data", "/data/dibs"), ("relative", None), ("", None)])
def test_data_goes_where_the_xdg_rules_say(monkeypatch: pytest.MonkeyPatch, xdg: str, expected: str | None) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", xdg)
    monkeypatch.setenv("HOME", "/home/somebody")

    assert str(default_data_dir()) == (expected or "/home/somebody/.local/share/dibs")


def test_settings_are_remembered_by_identity_since_hashing_every_field_for_every_item_would_cost() -> None:
    loaded = Settings.load({})
    assert hash(loaded) == id(loaded)
    assert loaded != Settings.load({})


AMBIGUOUS = [
    "redis://:Pa55/word@host:6379/0",
    "redis://:Pa55#word@host:6379/0",
    "redis://:Pa55?word@host:6379/0",
    "redis://user:5Pa55/5@host",
    "redis://:1234/Pa55@host",
    "redis://:Pa55@word@host:1",
    "redis://:Pa55[word@host:1",
    "redis://host:Pa55",
    "redis://host:6379/0#Pa55",
    "unix://:Pa55/word@/run/redis.sock",
    "unix://:Pa55?word@/run/redis.sock",
    "unix://:Pa55#word@/run/redis.sock",
    "unix://run/Pa55.sock",
]


@pytest.mark.parametrize("url", AMBIGUOUS)
def test_a_password_that_reads_in_two_ways_is_refused_with_the_right_spelling(url: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{url}\n")
    for options in ({"redis": url}, {"redis_file": tmp_path / "url"}):
        with pytest.raises(BadSettings, match="are written %2F %23 %3F") as caught:
            Settings.load(options)
        assert "Pa55" not in str(caught.value)
    with pytest.raises(ValidationError) as refused:
        Settings(redis=url)
    assert "Pa55" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host", "redis://host"),
        ("redis://:Pa55%2Fword%23%3F%40@host:6379/3", "redis://host:6379/3"),
        ("rediss://user:Pa55@[::1]:1/2?ssl_cert_reqs=none&password=Pa55", "rediss://[::1]:1/2"),
        ("redis://host:1?db=4", "redis://host:1/4"),
        ("redis://Pa55@host:1/", "redis://host:1"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix://user:Pa55@/run/a@b.sock?db=2&password=Pa55", "unix:///run/a@b.sock?db=2"),
    ],
)
def test_of_a_url_scheme_host_port_and_database_are_shown(url: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"\n {url} \n")
    settings = Settings.load({"redis_file": str(tmp_path / "url")})
    assert settings.redis == url
    assert shown_redis_url(url) == shown
    assert "Pa55" not in repr(settings)
    assert Settings.load({"redis": url}).redis == url


def test_a_password_with_everything_in_it_reaches_redis_as_it_is() -> None:
    password = "a/b#c?d@e[f]g%h:i j"
    url = f"redis://user:{quote(password, safe='')}@host:1/0"
    assert parse_url(Settings.load({"redis": url}).redis or "")["password"] == password


@pytest.mark.parametrize("content", [b"", b"redis://a redis://b", b"\xff\xfe", b"x" * 70_000])
def test_a_file_that_holds_no_url_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv("DIBS_REDIS_FILE", str(tmp_path / "url"))
    with pytest.raises(BadSettings, match=r"^--redis-file .*url: (must|holds)"):
        Settings.load({})
