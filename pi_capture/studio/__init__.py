"""Recording, labelling and looking at recordings from a browser: ``python -m pi_capture studio [FOLDER]``.

This is the roof above recording, `classify` and `storage`, and the only place that knows them all.
"""
