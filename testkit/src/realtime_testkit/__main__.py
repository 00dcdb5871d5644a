"""`python -m realtime_testkit`, for environments where the command is not on the path."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="realtime-testkit")
