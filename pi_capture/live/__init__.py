"""The live picture, and labels from keys while it records."""
