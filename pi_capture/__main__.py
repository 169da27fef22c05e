import sys

try:
    from pi_capture.cli import main

    status = main()
except KeyboardInterrupt:  # while it was still being loaded
    status = 130
sys.exit(status)
