"""A mail server that behaves as the JSON in its argument says, and tells in lines of JSON on stdout what it was told.

{"cert": path, "key": path,    STARTTLS is offered; or with "implicit": true TLS is spoken from the start
 "user": name, "password": p,  AUTH is asked for
 "mechanism": "LOGIN",         the only one that is offered
 "prompts": ["Username:", "Password:"],
 "rcpt": {"a@x": ["550 no"]},  answers to RCPT of this address, one after another; then it is accepted
 "data": ["451 later"]}        answers to DATA, one after another; then it is accepted
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

BEHAVIOUR = json.loads(sys.argv[1])


def tell(**event):
    print(json.dumps(event), flush=True)


def authenticate(server, session, envelope, mechanism, data):
    name, password = data.login.decode(), data.password.decode()
    good = (name, password) == (BEHAVIOUR["user"], BEHAVIOUR["password"])
    tell(event="auth", mechanism=mechanism, good=good, encrypted=session.ssl is not None or "implicit" in BEHAVIOUR)
    return AuthResult(success=good, handled=False)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        answers = BEHAVIOUR.get("rcpt", {}).get(address)
        if answers:
            answer = answers.pop(0)
            tell(event="rcpt", address=address, answer=answer)
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if BEHAVIOUR.get("data"):
            answer = BEHAVIOUR["data"].pop(0)
            tell(event="data", answer=answer)
            return answer
        message = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        parts = message.iter_parts() if message.is_multipart() else [message]
        tell(
            event="mail",
            sender=envelope.mail_from,
            to=envelope.rcpt_tos,
            encrypted=session.ssl is not None or "implicit" in BEHAVIOUR,
            hello=session.host_name,
            headers={name: str(value) for name, value in message.items()},
            names=message.keys(),
            kind=message.get_content_type(),
            parts={part.get_content_type(): part.get_content() for part in parts},
            defects=[str(defect) for defect in message.defects],
        )
        return "250 taken"


async def main():
    context = None
    if "cert" in BEHAVIOUR:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(BEHAVIOUR["cert"], BEHAVIOUR["key"])
        if "clients" in BEHAVIOUR:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(BEHAVIOUR["clients"])
    implicit = context if BEHAVIOUR.get("implicit") else None
    options = {"hostname": "mail.test", "tls_context": None if implicit else context}
    if "user" in BEHAVIOUR:
        options.update(authenticator=authenticate, auth_required=True, auth_require_tls=False)
        wanted = BEHAVIOUR.get("mechanism")
        options["auth_exclude_mechanism"] = [name for name in ("LOGIN", "PLAIN") if wanted not in (None, name)]

    def session():
        server = SMTP(Handler(), **options)
        if "prompts" in BEHAVIOUR:
            server.AuthLoginUsernameChallenge, server.AuthLoginPasswordChallenge = BEHAVIOUR["prompts"]
        tell(event="connected")
        return server

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", BEHAVIOUR.get("port", 0), ssl=implicit)
    tell(event="listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
