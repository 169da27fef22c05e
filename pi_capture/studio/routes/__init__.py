"""What each route of the studio takes and answers: the contract with the pages (see `pi_capture.studio.app`)."""
