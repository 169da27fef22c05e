"""The certificate of https: that it is one, with its key, and which names it has."""

from __future__ import annotations

import os
import ssl
import stat
from contextlib import suppress
from pathlib import Path

from pi_capture.errors import UsageError
from pi_capture.network.tls import NO_CHECK_TIME


def checked_names(certificate: Path, key: Path) -> set[str]:
    """The names that a certificate has, lower-case; ``*.school.example`` stands for all one level below.

    The names are read from a connection to ourselves: Python decodes only certificates that somebody presents.

    Raises
    ------
    UsageError
        The files can't be read, are no certificate with its key, or no certificate of a server.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME)
    try:
        for option, file in (("--tls-cert", certificate), ("--tls-key", key)):
            if not stat.S_ISREG(os.stat(file).st_mode):  # another kind could be read once only, or take for ever
                raise UsageError(f"{option} {file}: it is no file; copy it to one")
        server.load_cert_chain(certificate, key, password=lambda: b"")  # never ask at the terminal
        client.load_verify_locations(certificate)
    except ssl.SSLError as error:
        advice = "both are PEM files, the key without a passphrase"
        raise UsageError(
            f"--tls-cert {certificate}: no certificate of --tls-key {key} ({error.reason or error}); {advice}"
        ) from None
    except OSError as error:  # which of the two, the system does not say
        raise UsageError(f"--tls-cert {certificate}, --tls-key {key}: {error.strerror}") from None
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, answering = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    try:
        for end in (asking, answering, asking):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or error
        raise UsageError(f"--tls-cert {certificate}: browsers can't use this certificate ({reason})") from None
    names = (asking.getpeercert() or {}).get("subjectAltName", ())
    return {str(entry[1]).lower() for entry in names if entry[0] == "DNS"}
