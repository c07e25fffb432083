"""The command line. Nothing heavy is imported before a command is chosen."""


def main() -> None:
    """Run `molt` and exit with one of the codes of `molt.apps.cli.exits`."""
    from molt.apps.cli.app import app

    app()
