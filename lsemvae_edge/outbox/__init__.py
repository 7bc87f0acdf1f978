"""Results on their way to a FHIR server: kept until it has them, sent again as often as need be, stored there once."""

from lsemvae_edge.outbox.background import Outbox, Status
from lsemvae_edge.outbox.destination import Destination, destination_of
from lsemvae_edge.outbox.parking import release
from lsemvae_edge.outbox.sender import Report, send

__all__ = ["Destination", "Outbox", "Report", "Status", "destination_of", "release", "send"]
