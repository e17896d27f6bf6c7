"""``python -m tensorfusion`` is the ``tensorfusion`` program."""

from tensorfusion.cli.main import main

if __name__ == "__main__":
    main()
