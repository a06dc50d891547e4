"""Writes an authority's certificate, and what it has signed for a server and for a client, into a directory."""

import os
import pathlib
import sys

import trustme

os.umask(0o077)
directory = pathlib.Path(sys.argv[1])
authority = trustme.CA()
authority.cert_pem.write_to_path(directory / "authority.pem")
for name, identity in [("server", "127.0.0.1"), ("client", "client@example.com")]:
    issued = authority.issue_cert(identity)
    issued.private_key_pem.write_to_path(directory / f"{name}.key")
    for certificate in issued.cert_chain_pems:
        certificate.write_to_path(directory / f"{name}.pem", append=True)
