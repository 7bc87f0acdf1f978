"""What a session says of one part, for the terminal: its tables without drawings."""

from pathlib import Path

from lsemvae_edge.benchmarks.target import report_parts
from lsemvae_edge.benchmarks.target import session as sessions
from lsemvae_edge.benchmarks.target.report_document import block_to_markdown
from lsemvae_edge.benchmarks.target.report_view import View


def tables(folder: Path, part: str) -> str:
    """Return a part's tables, and what it did not measure, as Markdown.

    Parameters
    ----------
    folder : Path
        Of a session.
    part : str
        A name in `report_parts.BY_NAME`.
    """
    blocks = report_parts.BY_NAME[part](View(sessions.read(folder), draws=False))
    return "\n\n".join(block_to_markdown(block) for block in blocks)
