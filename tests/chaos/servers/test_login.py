"""How clients' names become the server's, and who sees the password."""

from cacheproof.chaos.servers.login import CLIENT_DATABASE, CLIENT_USER, TRUSTED, Login

SAID = {"user": CLIENT_USER, "database": CLIENT_DATABASE, "application_name": "app"}


def test_a_server_that_trusts_everybody_hears_what_clients_say() -> None:
    """Nothing is added and nothing replaced."""
    assert TRUSTED.parameters(SAID) == SAID


def test_the_names_of_the_wire_become_those_of_the_server() -> None:
    """What its URL told the client to say; settings are added to it."""
    login = Login(user="app", password="x", database="test", settings=(("lock_timeout", "0"),))
    assert login.parameters(SAID) == {
        "user": "app",
        "database": "test",
        "application_name": "app",
        "lock_timeout": "0",
    }


def test_what_a_client_says_itself_stands() -> None:
    """Another user or database is for the server to refuse; its own settings win."""
    login = Login(user="app", database="test", settings=(("lock_timeout", "0"),))
    said = {"user": "nobody", "database": "else", "lock_timeout": "5"}
    assert login.parameters(said) == said


def test_no_password_is_shown() -> None:
    """Not where an address is printed in an error."""
    assert "s3cret" not in repr(Login(user="app", password="s3cret"))
