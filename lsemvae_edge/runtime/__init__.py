"""One ``Session`` over the inference runtimes that may be installed."""

from lsemvae_edge.runtime.session import ENGINES, Engine, Output, Session, available, open_session

__all__ = ["ENGINES", "Engine", "Output", "Session", "available", "open_session"]
