import sys

from pi_capture.cli import main

sys.exit(main())
