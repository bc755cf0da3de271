"""Visit every page of a dashboard as a browser does, over its WebSocket, and print what was there as JSON.

    python visit.py PORT TEXT

Prints {"pages": {path: number of elements}, "exceptions": [...], "text": whether TEXT was sent to the visitor}.
Needs what Streamlit itself installs.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

PATIENCE_S = 120


async def messages(port: int, page: str) -> AsyncIterator[ForwardMsg]:
    """All that the server sends until it has run the page once."""
    address = f"ws://localhost:{port}/_stcore/stream"
    origin, protocol = Origin(f"http://localhost:{port}"), Subprotocol("streamlit")
    async with connect(address, subprotocols=[protocol], origin=origin, max_size=None) as server:
        ask = BackMsg()
        ask.rerun_script.page_name = page
        await server.send(ask.SerializeToString())
        while True:
            told = ForwardMsg()
            told.ParseFromString(await asyncio.wait_for(server.recv(), PATIENCE_S))
            yield told
            if told.WhichOneof("type") == "script_finished":
                return


async def visit(port: int, text: str) -> dict[str, object]:
    """Open the first page, then every page that its navigation names."""
    pages: dict[str, int] = {}
    exceptions: list[str] = []
    seen, waiting = False, [""]
    while waiting:
        page, elements = waiting.pop(), 0
        async for told in messages(port, page):
            seen = seen or text.encode() in told.SerializeToString()
            element = told.delta.new_element
            elements += element.WhichOneof("type") is not None
            if element.HasField("exception"):
                exceptions.append(f"{page or '/'}: {element.exception.type}: {element.exception.message}")
            if told.WhichOneof("type") == "navigation" and not page and not pages:
                waiting += [p.url_pathname for p in told.navigation.app_pages if p.url_pathname and not p.is_default]
        pages[page or "/"] = elements
    return {"pages": pages, "exceptions": exceptions, "text": seen}


print(json.dumps(asyncio.run(visit(int(sys.argv[1]), sys.argv[2]))))
