"""One step after another over very many recordings: on this machine, by a scheduler, or on a cluster."""
