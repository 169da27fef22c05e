import sys


def run() -> int:
    """The program. Until a recording has its own way to end, there is nothing to finish: Ctrl-C ends the process."""
    try:
        from pi_capture.namesakes import complaint

        line = complaint(("storage", "classify") if sys.argv[1:2] == ["studio"] else ("storage",))
        if line is not None:
            print(f"pi_capture: {line}", file=sys.stderr)
            return 1
        from storage.commands.standard_streams import ended_by_ctrl_c

        with ended_by_ctrl_c(b"pi_capture: interrupted\n"):
            from pi_capture.cli import COMMANDS, main

            clears_up = sys.argv[1:2] and sys.argv[1] in COMMANDS.keys() - {"watch"}  # which ends as a recording does
            if not clears_up:
                return main()
        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
