"""`python -m pinproxy`, and the `pinproxy` that an installation puts on the PATH."""

from pinproxy.cli.main import main

if __name__ == "__main__":
    main()
