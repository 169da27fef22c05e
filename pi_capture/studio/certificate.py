"""The certificate of https: that it is one, with its key, and which names it has."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from pi_capture.errors import UsageError

NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL: a Pi may not know yet what time it is


def checked_names(certificate: Path, key: Path) -> set[str]:
    """The names that a certificate has, lower-case; ``*.school.example`` stands for all one level below.

    The names are read from a connection to ourselves: Python decodes only certificates that somebody presents.

    Raises
    ------
    UsageError
        The files can't be read, or are no certificate with its key.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME)
    try:
        server.load_cert_chain(certificate, key, password=lambda: b"")  # never ask at the terminal
        client.load_verify_locations(certificate)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        asking, answering = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
        for end in (asking, answering, asking):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
        names = (asking.getpeercert() or {}).get("subjectAltName", ())
    except ssl.SSLError as error:
        advice = "both are PEM files, the key without a passphrase"
        raise UsageError(
            f"--tls-cert {certificate}: no certificate of --tls-key {key} ({error.reason or error}); {advice}"
        ) from None
    except OSError as error:  # which of the two, the system does not say
        raise UsageError(f"--tls-cert {certificate}, --tls-key {key}: {error.strerror}") from None
    return {str(entry[1]).lower() for entry in names if entry[0] == "DNS"}
