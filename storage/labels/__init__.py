"""Labels: which frame has which class (`journal`), and which intervals of time had one (`live`, `intervals`)."""
