"""Learning from a labelled recording, in seconds and without TensorFlow: descriptions, a linear head, a model file."""
