"""The rules of IMDSv2: which request of which instance gets what.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import http

from freehold.host.metadata import documents
from freehold.host.metadata.http import Answer, Request
from freehold.host.metadata.tokens import TTL_SECONDS_MAX, Tokens
from freehold.host.wire import GuestSpec, RoleCredentials

_TOKEN_PATH = "/latest/api/token"  # noqa: S105 (where tokens are asked for)
_TOKEN = "x-aws-ec2-metadata-token"  # noqa: S105 (the name of a header)
_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
_TTL_ANSWER = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"


def answer(
    request: Request, spec: GuestSpec, credentials: RoleCredentials | None, tokens: Tokens, now: float
) -> Answer:
    """`credentials` of the instance's role, if it has a profile; `now` in seconds since 1970."""
    if spec.metadata.http_endpoint == "disabled":
        return refusal(403)
    is_token = request.path.rstrip("/") == _TOKEN_PATH
    match request.method:
        case "PUT" if is_token:
            return _new_token(request, spec, tokens, now)
        case "GET" | "HEAD" if not is_token:
            return _document(request, spec, credentials, tokens, now)
    return refusal(405, ("Allow", "PUT" if is_token else "GET, HEAD"))


def refusal(status: int, *headers: tuple[str, str]) -> Answer:
    """An error, with a body as EC2's."""
    title = f"{status} - {http.HTTPStatus(status).phrase}"
    body = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n'
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n'
        '\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n'
        f" <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    )
    return Answer(status, body.encode(), "text/html", headers)


def _new_token(request: Request, spec: GuestSpec, tokens: Tokens, now: float) -> Answer:
    if "x-forwarded-for" in request.headers:  # an open proxy on the instance asks for somebody else
        return refusal(403)
    lifetime = request.headers.get(_TTL, "")
    if not (lifetime.isascii() and lifetime.isdigit() and len(lifetime) <= 9):
        return refusal(400)
    if not 1 <= int(lifetime) <= TTL_SECONDS_MAX:
        return refusal(400)
    token = tokens.issue(spec.instance_id, now + int(lifetime))
    return Answer(200, token.encode(), headers=((_TTL_ANSWER, str(int(lifetime))),))


def _document(
    request: Request, spec: GuestSpec, credentials: RoleCredentials | None, tokens: Tokens, now: float
) -> Answer:
    token = request.headers.get(_TOKEN)
    left: tuple[tuple[str, str], ...] = ()
    if token is not None:
        seconds = tokens.seconds_left(token, spec.instance_id, now)
        if seconds is None:
            return refusal(401)
        left = ((_TTL_ANSWER, str(int(seconds))),)
    elif spec.metadata.http_tokens == "required":
        return refusal(401)
    found = documents.find(spec, request.path, credentials, now)
    if found is None:
        return refusal(404)
    is_user_data = request.path.rstrip("/").endswith("/user-data")
    return Answer(200, found, "application/octet-stream" if is_user_data else "text/plain", left)
