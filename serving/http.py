"""Between Starlette, which Ray Serve speaks, and our own requests and replies."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.errors import PayloadTooLarge
from serving.protocol.reply import Reply, error_reply

Handle = Callable[[str, str, Mapping[str, str], bytes], Awaitable[Reply]]  # method, path, headers, body


async def respond(request: Request, handle: Handle, max_body_bytes: int) -> Response:
    """Read a request's body within the limit, have it handled, and turn the reply into a response."""
    try:
        body = await _body(request, max_body_bytes)
    except PayloadTooLarge as error:
        return _response(error_reply(error))
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it; raised further, Serve would count and log it as a failure
    reply = await handle(request.method, request.scope["path"], request.headers, body)
    return _response(reply)


async def _body(request: Request, max_body_bytes: int) -> bytes:
    # Refused by its header before a byte is kept; a client may also send no length, or a wrong one.
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_body_bytes:
        raise _too_large(max_body_bytes)
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_body_bytes:
            raise _too_large(max_body_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(max_body_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is over the limit of {max_body_bytes} bytes", "send fewer rows at a time")


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers)
