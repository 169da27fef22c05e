import sys

try:
    from classify.cli import main

    status = main()
except KeyboardInterrupt:  # while it was still being loaded
    status = 130
sys.exit(status)
