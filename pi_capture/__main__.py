import signal
import sys


def run() -> int:
    """The program, after which Ctrl-C has nothing to interrupt but Python's own end."""
    try:
        status = _run()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return status
    except KeyboardInterrupt:
        return 130


def _run() -> int:
    """The program. Until a recording has its own way to end, there is nothing to finish: Ctrl-C ends the process."""
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


if __name__ == "__main__":
    sys.exit(run())
