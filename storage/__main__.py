import sys


def run() -> int:
    """The program."""
    try:
        from storage.commands.standard_streams import ended_by_ctrl_c

        with ended_by_ctrl_c():
            from storage.cli import main
        return main()
    except KeyboardInterrupt:  # before or after that
        return 130


if __name__ == "__main__":
    sys.exit(run())
