"""The state of a recording, for people, programs and systemd."""
