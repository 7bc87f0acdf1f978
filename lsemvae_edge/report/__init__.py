"""What people read of a result: a few lines on a terminal, or one printed page.

Importing this package is quick; the page's library and font are loaded when a page is made.
"""

from lsemvae_edge.report.facts import VisitFacts
from lsemvae_edge.report.files import write
from lsemvae_edge.report.summary import terminal

__all__ = ["VisitFacts", "terminal", "write"]
