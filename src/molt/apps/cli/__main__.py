"""`python -m molt.apps.cli` is `molt`."""

from molt.apps.cli import main

if __name__ == "__main__":
    main()
