"""A mail server for the tests: tells on standard output, one JSON object a line, what it is handed.

The first line is {"port": N}, with --tls also the certificate to trust. A recipient whose address contains "later" is
refused with 451 the first time, one that contains "never" is refused with 550 each time, and one that contains
"silent" gets no answer at all. Ends when its standard input does.
"""

import argparse
import asyncio
import json
import logging
import ssl
import sys
import warnings
from email import message_from_bytes
from email.policy import default

import trustme
from aiosmtpd.smtp import SMTP, AuthResult


def tell(**what):
    print(json.dumps(what), flush=True)


class Handler:
    def __init__(self):
        self.postponed = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "silent" in address:
            await asyncio.Event().wait()
        if "never" in address:
            tell(refused=address, code=550)
            return "550 5.1.1 no such user here"
        if "later" in address and address not in self.postponed:
            self.postponed.add(address)
            tell(refused=address, code=451)
            return "451 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=default)
        tell(
            to=envelope.rcpt_tos,
            title=str(mail["subject"]),
            content=mail.get_content(),
            message_id=mail["message-id"],
            connection=session.peer[1],
            encrypted=server.transport.get_extra_info("ssl_object") is not None,
        )
        return "250 2.0.0 taken"


def read_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--login", nargs=2, metavar=("USER", "PASSWORD"), help="insist on a login with these")
    parser.add_argument("--tls", choices=["starttls", "implicit"], help="insist on encryption")
    return parser.parse_args()


def login_options(login):
    # aiosmtpd warns of what is meant here: a login without encryption.
    warnings.simplefilter("ignore")
    expected = [text.encode() for text in login]

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=[data.login, data.password] == expected)

    return {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}


def encryption():
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, authority.cert_pem.bytes().decode()


async def main():
    arguments = read_arguments()
    # Clients that hang up, or trust nobody, are what some tests are about.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    handler = Handler()
    options = {"enable_SMTPUTF8": True}
    certificate, implicit = {}, None
    if arguments.login:
        options |= login_options(arguments.login)
    if arguments.tls:
        context, pem = encryption()
        certificate = {"certificate": pem}
        if arguments.tls == "implicit":
            implicit = context
        else:
            options |= {"tls_context": context, "require_starttls": True}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, **options), "127.0.0.1", 0, ssl=implicit)
    tell(port=server.sockets[0].getsockname()[1], **certificate)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
