"""What several tests share."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ELSEWHERE = REPOSITORY / "tests" / "support" / "elsewhere"
"""A distribution of others, with a format and a camera: its modules, and its entry points."""
PATIENCE_SECONDS = 240.0
"""How long a test waits for what is sure to come: on a busy machine a program is loaded for a minute."""
