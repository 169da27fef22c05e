"""What persons, programs and systemd see of a recording."""
