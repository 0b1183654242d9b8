"""``python -m fastcache`` is the ``fastcache`` command."""

from fastcache.cli.main import main

if __name__ == "__main__":
    main()
