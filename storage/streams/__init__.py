"""Several tracks in one file (pictures, sensors, sound, labels): what each is and when, merged, exported and drawn."""
