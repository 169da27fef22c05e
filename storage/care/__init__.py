"""What looks after recordings: info, verify, merge, split and the contact sheet."""
