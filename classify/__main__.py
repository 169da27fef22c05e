import importlib.util
import os
import sys


def run() -> int:
    """The program; a module of another project that hides `storage` is told in one line."""
    try:
        ours = os.path.join(os.path.dirname(os.path.dirname(__file__)), "storage", "__init__.py")
        found = importlib.util.find_spec("storage")
        if found and found.origin and os.path.realpath(found.origin) != os.path.realpath(ours):
            line = f"{found.origin} hides the package storage that belongs to pi-capture; rename it, or remove it"
            print(f"classify: {line}", file=sys.stderr)
            return 1
        from storage.commands.standard_streams import ended_by_ctrl_c

        with ended_by_ctrl_c():
            from classify.cli import main
        return main()
    except KeyboardInterrupt:  # before or after that
        return 130


if __name__ == "__main__":
    sys.exit(run())
