"""The tracks of a file (pictures, sensors, sound, labels): what each is, how far it goes, and when it was."""
