"""The offer in an HTTP request that asks for a call, in any of the forms in use."""

from dataclasses import dataclass, field

import msgspec
from aiohttp import BodyPartReader, web

from realtime_testkit.protocol import MalformedFrame


@dataclass(frozen=True, slots=True)
class Offer:
    """What a call is asked for with: a session description, and the session as JSON."""

    sdp: str = field(repr=False)
    session: str = ""


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    sdp: str
    session: msgspec.Raw = msgspec.Raw()


async def read_offer(request: web.Request) -> Offer:
    """Read the offer in a request.

    Raises:
        MalformedFrame: there is none.
    """
    sdp, session = "", ""
    match request.content_type:
        case "application/sdp":
            sdp = await request.text()
        case "application/json":
            try:
                call = msgspec.json.decode(await request.read(), type=_Call)
            except (msgspec.DecodeError, RecursionError) as error:
                raise MalformedFrame(str(error)) from error
            sdp, session = call.sdp, bytes(call.session).decode()
        case "multipart/form-data":
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader):
                    match part.name:
                        case "sdp":
                            sdp = await part.text()
                        case "session":
                            session = await part.text()
    if not sdp:
        raise MalformedFrame("no sdp")
    return Offer(sdp, session)
