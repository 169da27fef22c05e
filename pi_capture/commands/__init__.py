"""Commands beside recording: doctor, install-service and uninstall-service."""
