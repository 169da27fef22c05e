"""Labels: which frame has which class (`journal`), and which stretches of time had one (`live`, `intervals`)."""
