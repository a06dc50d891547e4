"""A mail server for the tests: tells on standard output, one JSON object a line, what it is handed.

The first line is {"port": N}. A recipient whose address contains "later" is refused with 451 the first time, one
that contains "never" is refused with 550 each time, and one that contains "silent" gets no answer at all. With two
arguments it insists on a login with this user and password. Ends when its standard input does.
"""

import asyncio
import json
import logging
import sys
import warnings
from email import message_from_bytes
from email.policy import default

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
        )
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    expected = [argument.encode() for argument in sys.argv[1:]]
    return AuthResult(success=[data.login, data.password] == expected)


async def main():
    handler = Handler()
    options = {"enable_SMTPUTF8": True}
    if len(sys.argv) > 1:
        # aiosmtpd warns of what is meant here: a login without encryption.
        warnings.simplefilter("ignore")
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, **options), "127.0.0.1", 0)
    tell(port=server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
