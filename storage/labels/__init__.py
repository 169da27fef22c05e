"""Labels: which frame has which class (`journal`), and which intervals of time had one (`live`, `intervals`)."""

PERSON, SEEN, UNSEEN = "person", "model, seen", "model, unseen"  # who gave a label (`origins`)
