"""The console script: stops cleanly even when Ctrl-C comes while the command line is still being imported."""

import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    try:
        from app.cli import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
