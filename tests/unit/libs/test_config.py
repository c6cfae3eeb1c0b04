import pytest

from libs.config import ConfigError, Environment


def test_every_fault_is_reported_at_once():
    env = Environment({"PORT": "many", "LISTEN": "nowhere", "SERVERS": "a=1,b"})
    env.text("DSN")
    env.integer("PORT")
    env.address("LISTEN")
    env.pairs("SERVERS")
    with pytest.raises(ConfigError) as raised:
        env.check()
    for name in ("DSN", "PORT", "LISTEN", "SERVERS"):
        assert name in str(raised.value)


def test_values_and_defaults():
    env = Environment({"PORT": "8", "LISTEN": "[::1]:9", "SERVERS": "a=h:1,b=h:2", "EMPTY": ""})
    assert env.integer("PORT") == 8
    assert env.number("SECONDS", 0.5) == 0.5
    assert env.address("LISTEN") == "[::1]:9"
    assert env.pairs("SERVERS") == {"a": "h:1", "b": "h:2"}
    assert env.text("EMPTY", "given") == "given"
    env.check()


def test_several_addresses():
    env = Environment({"ALL": "a:1, b.example:2", "GAP": "a:1,,b:2", "BAD": "a:1,b"})
    assert env.addresses("ALL") == ("a:1", "b.example:2")
    env.check()
    for name in ("GAP", "BAD", "NONE"):
        env.addresses(name)
    with pytest.raises(ConfigError, match=r"GAP='' is not host:port\n.*BAD='b' is not host:port\n.*NONE is not set"):
        env.check()
