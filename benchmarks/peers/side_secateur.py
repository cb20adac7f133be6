"""What serves in the agent's inference process, alone: ``side_secateur.py NAME MODEL PORT``."""

import sys
import threading
from pathlib import Path

from secateur_agent.engine import find_engine
from secateur_agent.inference.commands import HttpSpec, LaneSpec, Load
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.lane import Lane, Serving
from secateur_agent.inference.realtime import Realtime, keep_collections_out
from secateur_agent.oip.router import Router
from secateur_agent.oip.server import HttpServer


def main() -> None:
    """Serve until killed."""
    name, path, port = sys.argv[1:]
    model = find_engine().load(Path(path).read_bytes())
    spec = LaneSpec(model=name, deadline_ms=1000.0, source=None, queue=64)
    lane = Lane(spec, Intake(64, None, print), 1.0, print, realtime=Realtime())
    load = Load(
        ticket=0, model=name, version="1", level=0, precision="", digest="0" * 64, path=path
    )
    lane.replace(Serving(load, model, 0.0))
    lane.start()
    where = HttpSpec(listen=f"127.0.0.1:{port}", max_request_bytes=1 << 24, max_connections=32)
    HttpServer(where, Router({name: lane}, str)).start()
    keep_collections_out()
    threading.Event().wait()


if __name__ == "__main__":
    main()
