import os
import signal
import sys


def _interrupted(*_: object) -> None:
    os.write(2, b"pi_capture: interrupted\n")
    os._exit(130)


def run() -> int:
    """The program. Until a recording has its own way to end, there is nothing to finish: Ctrl-C ends the process.

    As an exception it can be lost while modules are loaded, and a recording without an end would begin all the same.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    from pi_capture.namesakes import complaint

    line = complaint(("storage", "classify") if sys.argv[1:2] == ["studio"] else ("storage",))
    if line is not None:
        print(f"pi_capture: {line}", file=sys.stderr)
        return 1
    from pi_capture.cli import COMMANDS, main

    clears_up = sys.argv[1:2] and sys.argv[1] in COMMANDS.keys() - {"watch"}  # which ends as a recording does
    if clears_up and signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return main()


if __name__ == "__main__":
    sys.exit(run())
